"""The projections of a database: which generation is live, which version of the code made it, how far it has read.

A projection's row is the fence: every transaction that applies events holds it `for key share` until it ends, so a
rebuild's swap and a delete, which take it `for update`, know that no batch is in flight. Nothing that was read before
the fence may be used behind it. A `for key share` lets the row's position be saved beside it: an append that applies a
projection inline may stay open for long, and a projector that reads the store must not wait for it. Called by
`eventkit.projection` alone.

Row locks are not fair: while one batch after another shares the row, nobody would ever get it alone. So each takes the
projection's advisory lock first, in the mode in which it wants the row, for that lock is a queue; what is read is what
the row's lock gives. A swap lets the others by after a second: those in front may take long.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from eventkit.storage.db import projection_gate

# The gate is evaluated for the row that is about to be locked; the columns are those of the row as it is locked.
_FENCE = """select generation, declared_version, position, {gate}(%(gate)s, %(key)s), pg_relation_filenode(tableoid)
              from {s}.projections where name = %(name)s for {lock}"""
_SHARED = {"lock": "key share", "gate": "pg_advisory_xact_lock_shared"}
_TAKE = """select generation, declared_version, position, null
             from {s}.projections where name = %(name)s for update"""
_SAVE = "update {s}.projections set position = greatest(position, %s) where name = %s"
_READ_AGAIN = "update {s}.projections set position = 0 where name = %s"
_ALL = """select p.name, p.generation, p.declared_version, p.tables, p.position,
                 p.retry, r.generation, r.declared_version, r.done, r.total, r.started_at
            from {s}.projections p left join {s}.rebuilds r using (name) order by name"""
_REPLACE = """update {s}.projections set generation = %(generation)s, declared_version = %(version)s,
                     tables = %(tables)s::text[], categories = %(categories)s::text[],
                     position = greatest(position, %(position)s) where name = %(name)s"""
_DELETE = "delete from {s}.projections where name = %s"


class Live(msgspec.Struct, frozen=True):
    """What is live, as read behind the fence."""

    generation: int
    declared_version: int
    position: int  # up to which the store was read, for those that read the store
    shadow: str | None = None  # the schema that a rebuild's tables are in; None: they are where their names lead
    table: int = 0  # the file of the table that it was read from: another one after a restore


class BuildingGeneration(msgspec.Struct, frozen=True):
    """The generation that is being built, or that a dead rebuild has left."""

    generation: int
    declared_version: int
    done: int  # events
    total: int
    started_at: datetime


class Registered(msgspec.Struct, frozen=True):
    """A projection's row."""

    name: str
    generation: int
    declared_version: int
    tables: list[str]
    position: int
    retry: dict[str, Any]  # the policies of its handlers, as the last projector to start has them
    building: BuildingGeneration | None


class ProjectionRegistry:
    """The rows of one schema."""

    def __init__(self, schema: str) -> None:
        """Use the tables of `schema`."""
        self._schema = f'"{schema}"'
        self._name = schema

    def fence(self, connection: psycopg.Connection[Any], name: str) -> Live | None:
        """Hold the row until the transaction ends."""
        gate, key = self.gate(name)
        params = {"name": name, "gate": gate, "key": key}
        row = connection.execute(self._sql(_FENCE, **_SHARED), params).fetchone()
        return Live(row[0], row[1], row[2], table=row[4]) if row else None

    def take(self, connection: psycopg.Connection[Any], name: str) -> Live | None:
        """Hold the row alone until the transaction ends: behind every batch in flight, before those that come."""
        connection.execute("select pg_advisory_xact_lock(%s, %s)", self.gate(name))
        row = connection.execute(self._sql(_TAKE), {"name": name}).fetchone()
        return Live(*row[:3]) if row else None

    def gate(self, name: str) -> tuple[int, int]:
        """Return the projection's advisory lock."""
        return projection_gate(self._name, name)

    def save_position(self, connection: psycopg.Connection[Any], name: str, position: int) -> None:
        """Remember how far the store has been read."""
        connection.execute(self._sql(_SAVE), (position, name))

    def read_again(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Let the store be read from its beginning."""
        connection.execute(self._sql(_READ_AGAIN), (name,))

    def all(self, connection: psycopg.Connection[Any]) -> list[Registered]:
        """Return all projections, by name."""
        rows = connection.execute(self._sql(_ALL))
        return [_registered(*row) for row in rows]

    def replace(
        self,
        connection: psycopg.Connection[Any],
        name: str,
        live: Live,
        *,
        tables: Sequence[str],
        categories: Sequence[str],
    ) -> None:
        """Let another generation be the live one; this transaction has taken the row."""
        params = {"generation": live.generation, "version": live.declared_version, "position": live.position}
        where = {"name": name, "tables": list(tables), "categories": list(categories)}
        connection.execute(self._sql(_REPLACE), params | where)

    def delete(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Take the row away; this transaction has taken it."""
        connection.execute(self._sql(_DELETE), (name,))

    def _sql(self, statement: str, **words: str) -> bytes:
        return statement.format(s=self._schema, **words).encode()


def _registered(*columns: Any) -> Registered:  # noqa: ANN401 a row
    name, generation, version, tables, position, retry, *building = columns
    return Registered(
        name, generation, version, tables, position, retry, BuildingGeneration(*building) if building[0] else None
    )
