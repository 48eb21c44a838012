"""Whose fault an error is, and how its stream waits: error classes, attempts, breakers, streams set aside."""
