"""Live subscriptions to the event store, without a broker."""
