"""The published examples of the dynamic consistency boundary, each a program of its own."""
