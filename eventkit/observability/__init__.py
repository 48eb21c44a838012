"""Logs and traces of a running process."""
