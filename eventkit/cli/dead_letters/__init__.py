"""`eventkit dead-letters`."""
