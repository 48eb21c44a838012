"""`eventkit projection` and `eventkit projector`."""
