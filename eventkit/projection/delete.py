"""Deletes a projection: its row, its checkpoints and its letters in one transaction, with its tables on request.

A running projector finds no row at its next batch, applies nothing and ends with an error. The tables belong to the
service. If they stay, a new registration of the projection would apply every event to them again, so the command warns.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg
from psycopg.errors import DependentObjectsStillExist, LockNotAvailable

from eventkit.errors import DatabaseUnavailable, ProjectionError
from eventkit.storage.db import database_errors, lock_holders
from eventkit.storage.projections import (
    BrokerPlaces,
    ConsumerGroups,
    HandlerWaits,
    LiveTable,
    ProjectionRegistry,
    Rebuilds,
    TableName,
    drop_shadow,
    drop_tables,
    find_tables,
    forget,
    is_table,
)


class Deleted(msgspec.Struct, frozen=True):
    """The deleted projection."""

    name: str
    generation: int
    letters: int
    tables: list[str]
    dropped: bool


def delete(connection: psycopg.Connection[Any], schema: str, name: str, *, tables: bool) -> Deleted:
    """Delete a projection, over an autocommit connection; wait for batches in flight up to its `lock_timeout`."""
    projections = ProjectionRegistry(schema)
    try:
        with database_errors(), connection.transaction():
            return _delete(connection, schema, name, tables=tables)
            # crash point: deleted, not committed -> the projection is unchanged
    except DatabaseUnavailable as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        holders = lock_holders(connection, gate=projections.gate(name))
        raise ProjectionError(f"projection {name!r} is held by {holders}: end it, and delete again") from error
    except DependentObjectsStillExist as error:
        raise ProjectionError(f"its tables are needed, nothing was deleted: {error.diag.message_detail}") from error


def _delete(connection: psycopg.Connection[Any], schema: str, name: str, *, tables: bool) -> Deleted:
    projections, rebuilds = ProjectionRegistry(schema), Rebuilds(schema)
    live = projections.take(connection, name)
    known = {item.name: item for item in projections.all(connection)}
    if live is None:
        raise unknown(name, known)
    rebuilds.refuse_second(connection, name)
    building = rebuilds.end(connection, name)
    if building:
        drop_shadow(connection, building.shadow)
        forget(connection, schema, building.generation)
    projections.delete(connection, name)
    ConsumerGroups(schema).abandon(connection, name)
    BrokerPlaces(schema).forget(connection, name)
    HandlerWaits(schema).forget(connection, name)
    letters = forget(connection, schema, live.generation)
    if tables:
        drop_tables(connection, _tables_of(connection, schema, name, known[name].tables))
    return Deleted(name, live.generation, letters, known[name].tables, dropped=tables)


def _tables_of(connection: psycopg.Connection[Any], schema: str, name: str, texts: Iterable[str]) -> list[LiveTable]:
    """Return the tables that a row names; other roles may write it, so its texts are looked up and never executed."""
    names = {text: TableName.parse(text) for text in texts}
    found = find_tables(connection, (parsed for parsed in names.values() if parsed))
    wrong = [text for text, parsed in names.items() if parsed is None]
    wrong += [table.place for table in found if table.schema == schema or not is_table(connection, table)]
    if wrong:
        raise ProjectionError(
            f"projection {name!r} gives {wrong[0]!r} as a table of its own, which is no table of a read model: nothing "
            f"was deleted; correct `tables` of its row in {schema}.projections, or delete without --tables"
        )
    return found


def unknown(name: str, known: Iterable[str]) -> ProjectionError:
    """Return the error for an unknown name, with the known ones."""
    known_names = (
        f"there are {', '.join(known)}" if any(known) else "there is none yet: a projector's first start makes it"
    )
    return ProjectionError(f"no projection {name!r} in this database: {known_names}")
