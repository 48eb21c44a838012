"""The projections of a database: which generation is live, which table it writes, which version of the code made it.

A projection's row is the fence: every transaction that applies events holds it `for share` until it ends, so whoever
takes it `for update` (a rebuild's swap) knows that no batch is in flight. Nothing that was read before the fence may be
used behind it. Called by `eventkit.projection` alone.
"""

from typing import Any

import msgspec
import psycopg

# `generation` is drawn by the identity only when the row is new: conflicting inserts would burn numbers at every start,
# hence the look before.
_REGISTER = """insert into {s}.projections (name, table_name, declared_version)
               select %(name)s, %(table_name)s, %(version)s
                where not exists (select from {s}.projections where name = %(name)s)
               on conflict (name) do nothing"""
_FENCE = "select generation, table_name, declared_version, position from {s}.projections where name = %s for {lock}"
_SAVE = "update {s}.projections set position = greatest(position, %s) where name = %s"


class Live(msgspec.Struct, frozen=True):
    """What is live, as read behind the fence."""

    generation: int
    table_name: str | None
    declared_version: int
    position: int  # up to which the store was read, for those that read the store


class Projections:
    """The rows of one schema."""

    def __init__(self, schema: str) -> None:
        """Use the tables of `schema`."""
        self._schema = f'"{schema}"'

    def register(self, connection: psycopg.Connection[Any], name: str, *, table_name: str | None, version: int) -> None:
        """Create the projection's row if it is new; an existing one stays as it is."""
        params = {"name": name, "table_name": table_name, "version": version}
        connection.execute(_REGISTER.format(s=self._schema).encode(), params)

    def fence(self, connection: psycopg.Connection[Any], name: str, *, exclusive: bool = False) -> Live | None:
        """Hold the row until the transaction ends; `exclusive` where it is to be changed, lest two upgrade a lock."""
        lock = "no key update" if exclusive else "share"
        row = connection.execute(_FENCE.format(s=self._schema, lock=lock).encode(), (name,)).fetchone()
        return Live(*row) if row else None

    def save_position(self, connection: psycopg.Connection[Any], name: str, position: int) -> None:
        """Remember how far the store has been read."""
        connection.execute(_SAVE.format(s=self._schema).encode(), (position, name))
