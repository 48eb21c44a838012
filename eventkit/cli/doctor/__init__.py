"""`eventkit doctor`."""
