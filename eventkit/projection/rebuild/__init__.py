"""A rebuild: shadow tables are filled beside the live ones, then swapped in."""
