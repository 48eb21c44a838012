"""The only room that writes SQL of ours: PostgreSQL tables, appending, reading, the outbox, leases, checkpoints, dead letters."""
