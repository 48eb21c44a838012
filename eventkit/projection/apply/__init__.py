"""One batch applied: checkpoints, handlers, and each way in which an event can fail."""
