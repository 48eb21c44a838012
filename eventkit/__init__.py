"""Record what happened as events, in the same PostgreSQL transaction as your own state; stream them in order; fold them once.

    aggregate --record--> event --append--> events + outbox --relay--> transport --deliver--> projector --apply--> read model
                          (one transaction, the service's own)   publish, settle                  advance the checkpoint

A service author needs the names below and no broker; a read-model author needs no offsets; an operator needs the `eventkit`
command and no Python. Importing this package loads no broker client, alembic or click.
"""
