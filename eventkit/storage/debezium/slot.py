"""The replication slot through which Debezium reads, and the publication of its table.

PostgreSQL keeps the WAL that a slot's reader has not confirmed. A slot that nobody reads fills the disk, unless
`max_slot_wal_keep_size` limits it; beyond the limit the slot is lost.
"""

from typing import Any

import msgspec
import psycopg

from eventkit.errors import ConfigurationError
from eventkit.storage.db import database_errors, quoted

_LOOK = """select active_pid, coalesce(wal_status, 'lost'), confirmed_flush_lsn::text,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint, safe_wal_size
  from pg_replication_slots where slot_name = %s and database = current_database()"""
_CREATE = "select pg_create_logical_replication_slot(%s, 'pgoutput')"
_DROP = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active"
_END_READER = "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s and active"
_NOW = "select pg_current_wal_insert_lsn()::text"
_LIMIT = "select current_setting('max_slot_wal_keep_size')"
_HAS_PASSED = "select %s::pg_lsn >= %s::pg_lsn"

# What is published: only the inserts, because the row is deleted at once.
_PUBLISH = "create publication {name} for table {s}.debezium_outbox with (publish = 'insert')"
_UNPUBLISH = "drop publication if exists {name}"
_PUBLISHED = """select coalesce((
  select p.pubinsert and not (p.pubupdate or p.pubdelete or p.pubtruncate or p.puballtables)
     and '{s}.debezium_outbox'::regclass = all(array(select prrelid from pg_publication_rel where prpubid = p.oid))
     and exists (select from pg_publication_rel where prpubid = p.oid)
    from pg_publication p where p.pubname = %s), false)"""


class ConnectSlot(msgspec.Struct, frozen=True):
    """A replication slot: its reader, and how far behind it is, in bytes of WAL."""

    reader: int | None  # the process id of the session that reads it
    wal_status: str  # reserved, extended, unreserved; lost: its reader can never go on
    confirmed: str  # everything that was committed before this place in the WAL is sent
    behind: int
    retained: int  # the WAL that the server keeps for it
    left: int | None  # until the slot is lost; None without a limit

    @property
    def is_lost(self) -> bool:
        """Whether the server has removed WAL that its reader needs."""
        return self.wal_status == "lost"


class Replication:
    """The slot and the publication of one schema, both of the same name, over an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, name: str) -> None:
        self._connection = connection
        self._names = {"s": quoted(schema), "name": quoted(name)}
        self.name = name

    def check_server(self) -> None:
        """Raise ConfigurationError for a server that does not decode its WAL."""
        (level,) = self._one("show wal_level")
        if level != "logical":
            raise ConfigurationError(
                f"the server's wal_level is {level}: Debezium reads the WAL, which needs `wal_level = logical` and a "
                "restart of the server; nothing was changed"
            )

    def look(self) -> ConnectSlot | None:
        """Return the slot; None where there is none."""
        with database_errors():
            row = self._connection.execute(_LOOK, (self.name,)).fetchone()
        return ConnectSlot(*row) if row else None

    def create(self) -> None:
        """Create the slot; this waits for all transactions of the server that have written something.

        Raise the driver's errors: the caller tells a wait that was too long from a missing right.
        """
        self._connection.execute(_CREATE, (self.name,))

    def drop(self) -> bool:
        """Drop the slot, and end the session that reads it; return whether it is gone."""
        with database_errors():
            try:
                self._connection.execute(_END_READER, (self.name,))
            except psycopg.errors.InsufficientPrivilege:
                return False
            self._connection.execute(_DROP, (self.name,))
        return self.look() is None

    def publish(self) -> None:
        """Create the publication, unless it is as it must be."""
        if not self.is_published():
            self.unpublish()
            with database_errors():
                self._connection.execute(_PUBLISH.format(**self._names).encode())

    def unpublish(self) -> None:
        """Drop the publication."""
        with database_errors():
            self._connection.execute(_UNPUBLISH.format(**self._names).encode())

    def is_published(self) -> bool:
        """Return whether the publication has the inserts of the one table, and nothing else."""
        return bool(self._one(_PUBLISHED.format(**self._names), self.name)[0])

    def limit(self) -> str | None:
        """Return how much WAL the server keeps for a slot before the slot is lost; None without a limit."""
        (limit,) = self._one(_LIMIT)
        return None if limit == "-1" else str(limit)

    def here(self) -> str:
        """Return the end of the WAL."""
        return str(self._one(_NOW)[0])

    def has_passed(self, slot: ConnectSlot, place: str) -> bool:
        """Return whether everything up to a place in the WAL was sent."""
        return bool(self._one(_HAS_PASSED, slot.confirmed, place)[0])

    def _one(self, statement: str, *params: object) -> tuple[Any, ...]:
        with database_errors():
            row = self._connection.execute(statement.encode(), params).fetchone()
        return row or (None,)
