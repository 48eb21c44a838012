"""Runs a statement on each kind of connection; rows are tuples of Python's own numbers and text.

The session is a service's, with any search path: functions and types are qualified here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary, proxy

import psycopg
import sqlalchemy
from psycopg.rows import tuple_row

from eventkit.storage.db import asyncpg_statements
from eventkit.storage.db.asyncpg_statements import AsyncpgConnection, numbered, texts
from eventkit.storage.db.row_loaders import Row, changed_types, plain_loaders, plain_rows, short_result
from eventkit.storage.db.sql_text import qualified

Params = Mapping[str, Any] | Sequence[Any] | None
Execute = Callable[[str | bytes, Params], list[Row]]
Fetch = Callable[[str, dict[str, Any] | None], Awaitable[list[Row]]]
_MOST_KEPT = 16  # cursors of a connection

# The cursors of each connection's last statements for one event or one row, by statement.
_kept: WeakKeyDictionary[psycopg.Connection[Any], dict[str | bytes, psycopg.Cursor[Any]]] = WeakKeyDictionary()


def on_psycopg(connection: psycopg.Connection[Any], *, keeps: bool = False) -> Execute:
    """Return a function that runs statements on a connection of psycopg.

    If it `keeps` the cursors, the next run of a statement uses its cursor again. A new one copies the connection's
    adapters and looks up its dumpers and loaders, which takes a tenth of a small append. A kept cursor holds the
    statement's last parameters and rows: keep those of single events and rows alone.
    """
    if keeps:
        kept = _kept.get(connection)
        return partial(_execute_again, connection, _kept.setdefault(connection, {}) if kept is None else kept)
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)  # not the connection's own factories

    def execute(text: str | bytes, params: Params) -> list[Row]:
        cursor.execute(qualified(text), params)
        result = cursor.pgresult  # none yet in a pipeline
        if result is not None and (rows := short_result(result)) is not None:
            return rows
        return _rows(cursor)

    return execute


def _execute_again(
    connection: psycopg.Connection[Any],
    kept: dict[str | bytes, psycopg.Cursor[Any]],
    text: str | bytes,
    params: Params,
) -> list[Row]:
    """Run a statement with its cursor, which no other thread has meanwhile; after an error the cursor is not kept."""
    cursor = kept.pop(text, None)
    if cursor is None:  # its connection is a weak reference, or no dropped connection would be closed
        cursor = psycopg.Cursor(cast("psycopg.Connection[Any]", proxy(connection)), row_factory=tuple_row)
    cursor.execute(qualified(text), params)
    result = cursor.pgresult  # none yet in a pipeline
    if result is None or (rows := short_result(result)) is None:
        return _rows(cursor)
    kept[text] = cursor
    if len(kept) > _MOST_KEPT:
        oldest, *_ = tuple(kept)  # a copy, because another thread may change it
        kept.pop(oldest, None)
    return rows


def _rows(cursor: psycopg.Cursor[Any]) -> list[Row]:
    """Return the rows of the cursor's statement, by psycopg's default loaders."""
    plain_loaders(cursor)
    try:
        return cursor.fetchall()  # in a pipeline this waits for the result, `description` would not
    except psycopg.ProgrammingError as error:
        return _no_rows(error)


def on_psycopg_async(connection: psycopg.AsyncConnection[Any]) -> Fetch:
    """Return a function that runs statements on an asynchronous connection of psycopg."""

    async def fetch(text: str, params: dict[str, Any] | None) -> list[Row]:
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        plain_loaders(cursor)
        await cursor.execute(qualified(text), params)
        try:
            return await cursor.fetchall()
        except psycopg.ProgrammingError as error:
            return _no_rows(error)

    return fetch


def _no_rows(error: psycopg.ProgrammingError) -> list[Row]:
    """Return no rows for a statement that returns none; raise an error of the server."""
    if error.sqlstate is None and type(error) is psycopg.ProgrammingError:
        return []
    raise error


def on_asyncpg(connection: AsyncpgConnection) -> Fetch:
    """Return a function that runs statements on a connection of asyncpg."""

    async def fetch(text: str, params: dict[str, Any] | None) -> list[Row]:
        return await asyncpg_statements.fetch(connection, text, params)

    return fetch


def on_sqlalchemy(connection: sqlalchemy.Connection) -> Execute:
    """Return a function that runs statements on a connection of SQLAlchemy over psycopg."""
    changed = changed_types(cast("psycopg.Connection[Any]", connection.connection.driver_connection).adapters)
    options = _whole_results(connection)

    def execute(statement: str | bytes, params: Params) -> list[Row]:
        text = _text(statement)
        result = connection.exec_driver_sql(text, cast("Any", params), options)
        if not result.returns_rows:
            return []
        if changed and isinstance(result.cursor, psycopg.Cursor):
            plain_loaders(result.cursor)
        elif changed:  # an asynchronous connection has loaded its rows already
            return plain_rows(result)
        return [tuple(row) for row in result]

    return execute


def on_sqlalchemy_asyncpg(connection: sqlalchemy.Connection) -> Execute:
    """Return a function that runs statements on a connection of SQLAlchemy over asyncpg."""
    options = _whole_results(connection)

    def execute(given: str | bytes, params: Params) -> list[Row]:
        text = given if isinstance(given, str) else given.decode()
        if isinstance(params, Mapping):
            statement = numbered(text)
            result = connection.exec_driver_sql(_text(statement.text), tuple(texts(statement.names, params)), options)
        else:
            result = connection.exec_driver_sql(_text(text), None, options)
        return plain_rows(result) if result.returns_rows else []

    return execute


def _whole_results(connection: sqlalchemy.Connection) -> dict[str, Any] | None:
    """Return options against a service's server-side cursors: PostgreSQL declares none for a statement that writes."""
    options = connection.get_execution_options()
    streams = options.get("stream_results") or options.get("yield_per")
    return {"stream_results": False, "yield_per": None} if streams else None


def _text(statement: str | bytes) -> str:
    found = qualified(statement)
    return found if isinstance(found, str) else found.decode()
