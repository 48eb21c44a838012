"""How values are shown: words, masked data, small charts, and the links between screens."""
