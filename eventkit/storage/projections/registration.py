"""Registers a projection: its row identifies it, and another projection with the same name is refused.

One statement makes the row and draws its incarnation, so several processes get the same one. The name of the
projection's consumer group contains the incarnation: two databases never share a group, and a new read model begins at
the first event. On another server or database than before, a read model draws a new incarnation.
"""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from eventkit.errors import NameTaken, SchemaMismatch
from eventkit.storage.db import in_schema, qualified
from eventkit.storage.projections.broker_places import BrokerPlaces
from eventkit.storage.projections.consumer_groups import ConsumerGroups

# The identity draws `generation` only for a new row. A conflicting insert would draw a number at every start, hence the
# check before. A number that another row has is a conflict too, and the next one is drawn.
_INSERT = """insert into {s}.projections (name, kind, catalog, tables, categories, declared_version, server)
             select %(name)s, %(kind)s, %(catalog)s, %(tables)s::text[], %(categories)s::text[], %(version)s, %(server)s
              where not exists (select from {s}.projections where name = %(name)s)
             on conflict do nothing returning generation"""
_EXISTS = "select exists (select from {s}.projections where name = %(name)s)"
_USED = """select exists (select from {s}.checkpoints where generation = %(generation)s)
               or exists (select from {s}.rebuilds where generation = %(generation)s)"""
_JUMP = """update {s}.projections set generation = 1 + greatest(
             (select max(generation) from {s}.projections), (select max(generation) from {s}.checkpoints),
             (select max(generation) from {s}.rebuilds)) where name = %(name)s"""
_ROW = """select kind, catalog, tables, categories, declared_version from {s}.projections where name = %s"""
_LEFT = "select t from unnest(%s::text[]) t where to_regclass(t) is not null"
# Stores new values in the row: its first ones, renamed tables, more tables, other retry policies.
_UPDATE = """update {s}.projections set kind = %(kind)s, catalog = %(catalog)s, tables = %(tables)s::text[],
                    retry = %(retry)s::jsonb
             where name = %(name)s and (kind, catalog, tables, retry) is distinct from
                   (%(kind)s::text, %(catalog)s::text, %(tables)s::text[], %(retry)s::jsonb)"""
_WIDEN = """update {s}.projections set categories = %(categories)s::text[], position = 0
             where name = %(name)s and categories <> %(categories)s::text[]"""
_NARROW = """update {s}.projections set categories = %(categories)s::text[]
              where name = %(name)s and categories <> %(categories)s::text[]"""
_SETTLE = "update {s}.projections set server = %(server)s where name = %(name)s and server is null"
_MOVE = """update {s}.projections set incarnation = gen_random_uuid(), server = %(server)s
            where name = %(name)s and server <> %(server)s returning incarnation"""
_INCARNATION = "select incarnation from {s}.projections where name = %s"
_MAX_TRIES = 10_000  # numbers that an identity may lag behind


class DeclaredProjection(msgspec.Struct, frozen=True):
    """A projection as its code declares it; `acts` where its handlers have effects outside of its tables."""

    name: str
    kind: str
    catalog: str
    tables: list[str]  # by their quoted names
    categories: list[str]
    version: int
    acts: bool = False
    retry: str = "{}"  # JSON: how handlers are called

    def __str__(self) -> str:
        """Describe it by kind, catalog, tables and categories."""
        writes = f", writes {', '.join(self.tables)}" if self.tables else ""
        reads = ", ".join(sorted(self.categories)) or "all categories"
        return f"{self.kind} of catalog {self.catalog!r}{writes}, reads {reads}"


class _Row(NamedTuple):
    kind: str
    catalog: str
    tables: list[str]
    categories: list[str]
    version: int


def register(
    connection: psycopg.Connection[Any],
    schema: str,
    declared: DeclaredProjection,
    *,
    server: str | None = None,
    rebuilds: bool = False,
) -> UUID:
    """Create the projection's row if it is new, in the caller's transaction; return its incarnation.

    `server` names server and database; None skips that check. A rebuild (`rebuilds`) may change the categories. Raises
    NameTaken where the row belongs to another projection.
    """
    params = {**msgspec.structs.asdict(declared), "server": server}
    _create(connection, schema, params)
    known = _Row(*_one(connection, in_schema(_ROW, schema), (declared.name,)))
    _refuse_another(connection, declared, known)
    if known.version == declared.version:
        if not rebuilds:
            _take_categories(connection, schema, declared, known)
        connection.execute(in_schema(_UPDATE, schema), params)
    if server is not None:
        connection.execute(in_schema(_SETTLE, schema), params)
        if not declared.acts and connection.execute(in_schema(_MOVE, schema), params).fetchone():
            ConsumerGroups(schema).disown(connection, declared.name)
            BrokerPlaces(schema).forget(connection, declared.name)
    row = connection.execute(in_schema(_INCARNATION, schema), (declared.name,)).fetchone()
    return UUID(str(row[0])) if row else UUID(int=0)


def _create(connection: psycopg.Connection[Any], schema: str, params: dict[str, Any]) -> None:
    """Insert the row with a generation that is not in use, also where the identity lags behind."""
    for _ in range(_MAX_TRIES):
        row = connection.execute(in_schema(_INSERT, schema), params).fetchone()
        if row and _one(connection, in_schema(_USED, schema), {"generation": row[0]}) == (True,):
            connection.execute(in_schema(_JUMP, schema), params)
        if row or _one(connection, in_schema(_EXISTS, schema), params) == (True,):
            return
    raise SchemaMismatch("the identity of projections.generation is far behind its column: run `eventkit db verify`")


def _refuse_another(connection: psycopg.Connection[Any], declared: DeclaredProjection, row: _Row) -> None:
    left = {table for (table,) in connection.execute(qualified(_LEFT), (row.tables,))} if row.tables else set()
    other_tables = bool(declared.tables and left) and not left & set(declared.tables)
    other_kind = row.version == declared.version and row.kind not in ("", declared.kind)
    if row.catalog not in ("", declared.catalog) or other_kind or other_tables:
        raise NameTaken(f"{_both(declared, row)}: give one of them another name")


def _take_categories(connection: psycopg.Connection[Any], schema: str, declared: DeclaredProjection, row: _Row) -> None:
    """Change the categories of a projection that acts: more, from their beginning, or fewer; refuse a read model."""
    mine, theirs = set(declared.categories), set(row.categories)
    if mine == theirs:
        return
    if not declared.acts:
        raise NameTaken(
            f"{_both(declared, row)}: give one of them another name, or, if the categories of one projection have "
            "changed, raise its version= and run `eventkit projection rebuild`"
        )
    wider = not mine or (bool(theirs) and mine > theirs)
    narrower = not theirs or mine < theirs
    if not (wider or narrower):
        raise NameTaken(
            f"{_both(declared, row)}: give one of them another name, or, if the categories of one have changed, add "
            "the new ones first and remove the old ones later"
        )
    connection.execute(in_schema(_WIDEN if wider else _NARROW, schema), msgspec.structs.asdict(declared))


def _both(declared: DeclaredProjection, row: _Row) -> str:
    registered = DeclaredProjection(declared.name, row.kind, row.catalog, row.tables, row.categories, row.version)
    return f"the name {declared.name!r} is taken: registered is the {registered}; this is the {declared}"


def _one(connection: psycopg.Connection[Any], statement: bytes, params: Any) -> Any:  # noqa: ANN401 a row
    return connection.execute(statement, params).fetchone()
