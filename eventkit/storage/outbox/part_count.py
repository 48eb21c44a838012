"""The number of parts into which relays divide the shards: a field of the installation's row.

Two relays with different numbers would both read some streams. So the number changes only while no relay runs. Relays
start under a lock that they share, and read the number under it. The change takes the lock alone: a relay that starts
is either seen by the change, or reads the new number. A relay that hangs still has its session, and counts as running.
"""

import re
from typing import Any

import psycopg

from eventkit.errors import ConfigurationError, RelayRunning
from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.outbox.leases import SECONDS
from eventkit.storage.outbox.part_leases import PROCESS, LeaseRow, lease_rows, pass_gate
from eventkit.storage.tables import SHARDS

_READ = "select relay_parts from {s}.installation"
_CHANGE = "update {s}.installation set relay_parts = %s"
# A relay that was cut off before, and wakes up now, finds another epoch, whatever the number of parts was.
_DEPOSE_HOLDERS = """update {s}.leases set epoch = epoch + 1, expires_at = clock_timestamp()
             where name ~ '^relay [0-9]+/[0-9]+$' and epoch > 0"""
_RECORD = """insert into {s}.operator_actions (actor, action, subject, detail)
             values (%s, 'relay parts', 'relay', %s)"""
_MAX_NAMED = 10  # processes in an error
_PART = re.compile(r"relay \d+/\d+")


def read_part_count(connection: psycopg.Connection[Any], schema: str) -> int:
    """Return the number of parts."""
    with database_errors():
        (parts,) = connection.execute(in_schema(_READ, schema)).fetchone() or (1,)
    return int(parts)


def change_part_count(connection: psycopg.Connection[Any], schema: str, parts: int, *, actor: str) -> int:
    """Set the number of parts, and record who did it; return the number before.

    Raise RelayRunning while a relay process runs, and ConfigurationError for a number that is out of range.
    """
    if not 1 <= parts <= SHARDS:
        raise ConfigurationError(f"{parts} parts: a number from 1 to {SHARDS} is possible, the number of shards")
    with database_errors(), connection.transaction():
        pass_gate(connection, schema, alone=True)
        running = [row for row in lease_rows(connection, schema) if _runs(row)]
        if running:
            raise RelayRunning(_refusal(running))
        before = read_part_count(connection, schema)
        for statement, params in (
            (_CHANGE, [parts]),
            (_DEPOSE_HOLDERS, []),
            (_RECORD, [actor, f"from {before} to {parts} parts"]),
        ):
            connection.execute(in_schema(statement, schema), params)
    return before


def _runs(row: LeaseRow) -> bool:
    is_relay = row.name.startswith(PROCESS) or _PART.fullmatch(row.name) is not None
    return is_relay and (row.session is not None or row.left > 0)


def _refusal(running: list[LeaseRow]) -> str:
    connected = sorted({row.owner for row in running if row.session is not None})
    if connected:
        count = "1 relay process runs" if len(connected) == 1 else f"{len(connected)} relay processes run"
        return (
            f"{count} ({', '.join(connected[:_MAX_NAMED])}): with two numbers of parts, relays would send events "
            "twice. Stop all relays first; one that hangs has to be killed"
        )
    left = max(row.left for row in running)
    return (
        f"a relay process has lost its session without a clean end, and may still send: its leases of {SECONDS:g} s "
        f"expire in {left:.0f} s. Try again then"
    )
