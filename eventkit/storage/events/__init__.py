"""The event store: append, read, decide by tags."""
