"""The outbox as the relay reads it: in order, without a gap lost, under a lease."""
