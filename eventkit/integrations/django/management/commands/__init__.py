"""The command `eventkit`."""
