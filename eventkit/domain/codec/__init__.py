"""Events to JSON and back: which classes and types it takes, how each is encoded, why one is refused."""
