"""`eventkit events show | find | tail | tree`."""
