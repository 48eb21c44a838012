"""`eventkit status`."""
