"""The projections of a database: the live generation, the version of its code, and the position read in the store.

A projection's row is the fence. Every transaction that applies events locks it `for key share` until it ends. A
rebuild's swap and a delete lock it `for update`, so no batch is in flight then. A value that was read before the fence
was taken must not be used after it. `for key share` allows an update of the row's position meanwhile: an append that
applies a projection inline may stay open for long, and a projector that reads the store must not wait for it. Called by
`eventkit.projection` alone.

Row locks are not fair: while one batch after another shares the row, an exclusive lock would wait for ever. So each
transaction takes the projection's advisory lock first, in the same mode, because advisory locks are queued. The row is
read as it is locked. A swap waits a second for the lock, then tries again, so others do not wait behind it for long.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from eventkit.storage.db import in_schema, projection_gate

# The advisory lock is taken before the row is locked; the columns are those of the row as it is locked. A pause is as
# old as the statement: one more batch may follow it.
_HOLD_GENERATION = """select generation, declared_version, position, pg_advisory_xact_lock_shared(%(gate)s, %(key)s),
                   pg_relation_filenode(tableoid),
                   (select array[paused_by, reason] from {s}.pauses where kind = 'projection' and name = %(name)s)
              from {s}.projections where name = %(name)s for key share"""
_TAKE = """select generation, declared_version, position, null
             from {s}.projections where name = %(name)s for update"""
_SAVE = "update {s}.projections set position = greatest(position, %s) where name = %s"
_READ_AGAIN = "update {s}.projections set position = 0 where name = %s"
_ALL = """select p.name, p.kind, p.generation, p.declared_version, p.tables, p.position,
                 p.retry, p.categories, r.generation, r.declared_version, r.done, r.total, r.started_at
            from {s}.projections p left join {s}.rebuilds r using (name) order by name"""
_DELETE = """with resumed as (delete from {s}.pauses where kind = 'projection' and name = %(name)s)
             delete from {s}.projections where name = %(name)s"""


class Live(msgspec.Struct, frozen=True):
    """The live generation, read under the fence."""

    generation: int
    declared_version: int
    position: int  # read in the store, for projectors that read the store
    table: int = 0  # the file of the table `projections`: another one after a restore
    paused: Sequence[str] | None = None  # who has paused the projection, and why


class BuildingGeneration(msgspec.Struct, frozen=True):
    """The generation of a running or a dead rebuild."""

    generation: int
    declared_version: int
    done: int  # events
    total: int
    started_at: datetime


class Registered(msgspec.Struct, frozen=True):
    """A projection's row."""

    name: str
    kind: str  # as the class says it: "table projection", "process manager"
    generation: int
    declared_version: int
    tables: list[str]
    position: int
    retry: dict[str, Any]  # the retry policies of its handlers, from the projector that started last
    categories: list[str]  # of the streams that it reads; none: all
    building: BuildingGeneration | None


class ProjectionRegistry:
    """The projections of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._name = schema

    def fence(self, connection: psycopg.Connection[Any], name: str) -> Live | None:
        """Lock the row until the transaction ends, shared with other batches; None where it does not exist."""
        gate, key = self.gate(name)
        params = {"name": name, "gate": gate, "key": key}
        row = connection.execute(self._sql(_HOLD_GENERATION), params).fetchone()
        return Live(row[0], row[1], row[2], table=row[4], paused=row[5]) if row else None

    def take(self, connection: psycopg.Connection[Any], name: str) -> Live | None:
        """Lock the row exclusively until the transaction ends: after every batch in flight, before later ones."""
        connection.execute("select pg_advisory_xact_lock(%s, %s)", self.gate(name))
        row = connection.execute(self._sql(_TAKE), {"name": name}).fetchone()
        return Live(*row[:3]) if row else None

    def gate(self, name: str) -> tuple[int, int]:
        """Return the projection's advisory lock."""
        return projection_gate(self._name, name)

    def save_position(self, connection: psycopg.Connection[Any], name: str, position: int) -> None:
        """Save the position up to which the store was read."""
        connection.execute(self._sql(_SAVE), (position, name))

    def read_again(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Reset the position: the store is read from its beginning."""
        connection.execute(self._sql(_READ_AGAIN), (name,))

    def all(self, connection: psycopg.Connection[Any]) -> list[Registered]:
        """Return all projections, by name."""
        rows = connection.execute(self._sql(_ALL))
        return [_registered(*row) for row in rows]

    def delete(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Delete the row, and its pause; this transaction has called `take`."""
        connection.execute(self._sql(_DELETE), {"name": name})

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)


def _registered(*columns: Any) -> Registered:  # noqa: ANN401 a row
    name, kind, generation, version, tables, position, retry, categories, *rest = columns
    building = BuildingGeneration(*rest) if rest[0] else None
    return Registered(name, kind, generation, version, tables, position, retry, categories, building)
