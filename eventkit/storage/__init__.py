"""The only room that writes SQL of ours: tables, appending, reading, the outbox, leases, checkpoints, dead letters."""
