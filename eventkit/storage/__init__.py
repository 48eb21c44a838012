"""The only package with eventkit's SQL: tables, appending, reading, the outbox, leases, checkpoints, dead letters."""
