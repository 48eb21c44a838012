"""The rebuild of a projection: one row for the generation that is being built, also after the rebuild's process died.

A rebuild holds a session advisory lock, so a second one is refused, and a free lock shows a dead rebuild. Its workers
hold the row `for key share` while they write. The cleanup of a dead rebuild deletes the row, which waits for these
workers; a worker that is still alive then finds no row, and stops.
"""

import zlib
from typing import Any

import msgspec
import psycopg

from eventkit.errors import RebuildRefused
from eventkit.storage.db import in_schema, qualified, quoted
from eventkit.storage.projections.registry import Live

_MAX_PREFIX = 40  # characters of eventkit's schema in the name of a shadow schema
_CLASS = 0x65766B72  # "evkr": the class of rebuilds among a database's advisory locks
_LOCK = "select pg_try_advisory_lock(%s, %s)"
_FREE = "select pg_try_advisory_xact_lock(%s, %s)"
_HOLDER = """select a.pid, a.application_name, coalesce(a.client_addr::text, 'this host'), a.backend_start
               from pg_locks l join pg_stat_activity a using (pid)
              where l.locktype = 'advisory' and l.granted
                and l.classid::int8 = %s and l.objid::int8 = %s::int8 & 4294967295
                and l.database = (select oid from pg_database where datname = current_database())"""

_DRAW = "select nextval(pg_get_serial_sequence(%s, 'generation'))"
_USED = """select exists (select from {s}.projections where generation = %(number)s)
               or exists (select from {s}.rebuilds where generation = %(number)s)
               or exists (select from {s}.checkpoints where generation = %(number)s)"""
_BEGIN = """insert into {s}.rebuilds (name, generation, declared_version, shadow, definition, categories, total)
values (%(name)s, %(generation)s, %(declared_version)s, %(shadow)s, %(definition)s, %(categories)s, %(total)s)"""
_FIND = """select generation, declared_version, shadow, definition, categories, total
             from {s}.rebuilds where name = %s"""
_HOLD_REBUILD = "select 1 from {s}.rebuilds where name = %s and generation = %s for key share"
_HOLD = "select 1 from {s}.rebuilds where name = %s and generation = %s for update"
_END = """delete from {s}.rebuilds where name = %s
          returning generation, declared_version, shadow, definition, categories, total"""
_PROGRESS = "update {s}.rebuilds set done = %s, total = %s where name = %s and generation = %s"


class Rebuild(msgspec.Struct, frozen=True):
    """A row; `definition` describes the live tables when the shadow was made."""

    generation: int
    declared_version: int
    shadow: str
    definition: str
    categories: list[str]
    total: int

    def live(self) -> Live:
        """Return it as the generation that a batch applies to."""
        return Live(self.generation, self.declared_version, 0)


def shadow_name(schema: str, generation: int) -> str:
    """Return the name of a shadow schema: at most 63 characters, different for each of eventkit's schemas."""
    if len(schema) > _MAX_PREFIX:
        schema = f"{schema[: _MAX_PREFIX - 9]}_{zlib.crc32(schema.encode()):08x}"
    return f"{schema}_rebuild_{generation}"


class Rebuilds:
    """The rebuilds of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._name = schema

    def lock(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Take a projection's rebuild lock until the session ends; raise RebuildRefused where another holds it."""
        if connection.execute(_LOCK, (_CLASS, self._key(name))).fetchone() != (True,):
            raise self._refusal(connection, name)

    def refuse_second(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Raise RebuildRefused where a rebuild runs; no other one begins before this transaction ends."""
        if connection.execute(_FREE, (_CLASS, self._key(name))).fetchone() != (True,):
            raise self._refusal(connection, name)

    def draw(self, connection: psycopg.Connection[Any]) -> int:
        """Return a new generation's number; skip a number that is in use, as after a restore."""
        while True:
            row = connection.execute(qualified(_DRAW), (f"{quoted(self._schema)}.projections",)).fetchone()
            number = int(row[0]) if row else 0
            if connection.execute(self._sql(_USED), {"number": number}).fetchone() == (False,):
                return number

    def begin(self, connection: psycopg.Connection[Any], name: str, rebuild: Rebuild) -> None:
        """Create the row."""
        connection.execute(self._sql(_BEGIN), {"name": name, **msgspec.structs.asdict(rebuild)})

    def find(self, connection: psycopg.Connection[Any], name: str) -> Rebuild | None:
        """Return the row of a rebuild, running or dead."""
        row = connection.execute(self._sql(_FIND), (name,)).fetchone()
        return self._read(row, name)

    def fence(self, connection: psycopg.Connection[Any], name: str, rebuild: Rebuild) -> None:
        """Lock the row until the transaction ends, shared with others; raise RebuildRefused where it is gone."""
        self._hold(connection, _HOLD_REBUILD, name, rebuild)

    def take(self, connection: psycopg.Connection[Any], name: str, rebuild: Rebuild) -> None:
        """Lock the row exclusively until the transaction ends; raise RebuildRefused where it is gone."""
        self._hold(connection, _HOLD, name, rebuild)

    def end(self, connection: psycopg.Connection[Any], name: str) -> Rebuild | None:
        """Delete the row, after every worker's transaction; return it."""
        row = connection.execute(self._sql(_END), (name,)).fetchone()
        return self._read(row, name)

    def progress(self, connection: psycopg.Connection[Any], name: str, generation: int, done: int, total: int) -> None:
        """Store the number of applied events, for `eventkit projection status`."""
        connection.execute(self._sql(_PROGRESS), (done, max(done, total), name, generation))

    def _read(self, row: tuple[Any, ...] | None, name: str) -> Rebuild | None:
        """Return the row; refuse one that names another schema, which would be dropped with all its tables."""
        rebuild = Rebuild(*row) if row else None
        if rebuild and rebuild.shadow != shadow_name(self._name, rebuild.generation):
            raise RebuildRefused(
                f"the rebuild of {name!r} names the schema {rebuild.shadow!r}, which eventkit has not made: nothing "
                f"was done; the row in {self._name}.rebuilds was changed by hand, so delete it"
            )
        return rebuild

    def _hold(self, connection: psycopg.Connection[Any], statement: str, name: str, rebuild: Rebuild) -> None:
        if connection.execute(self._sql(statement), (name, rebuild.generation)).fetchone() is None:
            raise RebuildRefused(
                f"the rebuild of {name!r} as generation {rebuild.generation} is over: another has begun, or the "
                "projection was deleted"
            )

    def _refusal(self, connection: psycopg.Connection[Any], name: str) -> RebuildRefused:
        row = connection.execute(qualified(_HOLDER), (_CLASS, self._key(name))).fetchone()
        holder = f" by {row[1]!r} on {row[2]} (server process {row[0]}, since {row[3]:%H:%M:%S})" if row else ""
        return RebuildRefused(f"projection {name!r} is being rebuilt{holder}: wait for it, or end it first")

    def _key(self, name: str) -> int:
        return zlib.crc32(f"{self._name} {name}".encode()) - 2**31  # an int4

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
