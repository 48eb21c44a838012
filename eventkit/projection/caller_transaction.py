"""The workspace of inline projections: the caller's transaction, which they never end.

The caller's connection may return rows in any shape, or belong to an asynchronous driver. So the projection's
statements are executed the same way as the append's, and their rows come back as tuples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql

from eventkit.errors import ProjectionError, UnsupportedConnection
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.transaction import Workspace
from eventkit.storage.db import OpenConnection, Row
from eventkit.storage.projections import TableName

_UTC = {"UTC", "Etc/UTC"}  # two names of one zone
_NOTHING: AbstractContextManager[None] = nullcontext()
_TIME_ZONE = "select set_config('TimeZone', %s, true)"
ASYNC_INLINE = (
    "an append cannot await `async def` handlers: write plain functions, or run the projection with "
    "`eventkit projector run`"
)
Query = str | bytes | sql.Composable


class Fetched:
    """The rows of a statement."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def fetchall(self) -> list[Row]:
        """Return all rows."""
        return self._rows

    def fetchone(self) -> Row | None:
        """Return the first row."""
        return self._rows[0] if self._rows else None


class Statements:
    """The part of psycopg's Connection that projections use, over the caller's connection."""

    def __init__(self, opened: OpenConnection) -> None:
        self._execute = opened.execute
        # also of SQLAlchemy's asynchronous connections; it is used only for encodings and adapters
        self.connection = opened.driver
        self.adapters = self.connection.adapters

    def execute(self, query: Query, params: Mapping[str, Any] | Sequence[Any] | None = None, **_: object) -> Fetched:
        if isinstance(query, sql.Composable):
            query = query.as_string(self.connection)
        return Fetched(self._execute(query, tuple(params) if isinstance(params, list) else params))

    @property
    def time_zone(self) -> str:
        """The session's time zone, as the server has reported it."""
        return (self.connection.pgconn.parameter_status(b"TimeZone") or b"").decode()

    def cursor(self, **_: object) -> "Statements":
        """Return itself, as a cursor."""
        return self


class CallerTransaction(Workspace):
    """The caller's transaction as a projection's workspace."""

    def __init__(self, opened: OpenConnection) -> None:
        self._statements = Statements(opened)
        self._is_lost = opened.is_lost
        self._opened = opened.connection
        super().__init__(cast("psycopg.Connection[Any]", self._statements))

    @property
    def sqlalchemy(self) -> sa.Connection:
        """The caller's transaction as a SQLAlchemy Connection."""
        if isinstance(self._opened, sa.Connection):
            return self._opened
        raise UnsupportedConnection(
            "an inline SQL projection needs SQLAlchemy, this is a psycopg.Connection: append on a Session or "
            "Connection, or leave the projection to a projector"
        )

    @property
    def async_connection(self) -> NoReturn:
        """Raise ProjectionError: an append cannot await handlers."""
        raise ProjectionError(ASYNC_INLINE)

    def call_async(self, calls: Sequence[AsyncCall]) -> NoReturn:  # noqa: ARG002 no call can be awaited
        """Raise ProjectionError: an append cannot await handlers."""
        raise ProjectionError(ASYNC_INLINE)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Use the caller's transaction; calls may be nested."""
        yield self.connection

    def when_committed(self, call: Callable[[], None]) -> None:
        """Ignore the function: the commit is the caller's."""

    def kept_open(self) -> AbstractContextManager[None]:
        """Raise ProjectionError if a handler ends the transaction."""
        return self._guarded(self._opened) if isinstance(self._opened, sa.Connection) else _NOTHING

    @contextmanager
    def _guarded(self, opened: sa.Connection) -> Iterator[None]:
        for event in ("commit", "rollback"):
            sa.event.listen(opened, event, _refuse)
        try:
            yield
        finally:
            for event in ("commit", "rollback"):
                sa.event.remove(opened, event, _refuse)

    def in_utc(self) -> AbstractContextManager[None]:
        """Set the session's time zone to UTC, as in a projector, so that both compute the same rows."""
        zone = self._statements.time_zone
        return _NOTHING if zone in _UTC else self._moved_to_utc(zone)

    @contextmanager
    def _moved_to_utc(self, zone: str) -> Iterator[None]:
        self.connection.execute(_TIME_ZONE, ["UTC"])
        yield  # an error resets it with the savepoint of the append
        if not self._is_lost():  # a statement would hide that: it begins a transaction, or fails with another error
            self.connection.execute(_TIME_ZONE, [zone])

    def check_schemas(self, projection: str, tables: Sequence[TableName]) -> None:
        """Refuse a connection whose `schema_translate_map` maps a projection's table to another schema.

        A projection's checkpoints belong to one table.
        """
        if not isinstance(self._opened, sa.Connection):
            return
        translated = self._opened.get_execution_options().get("schema_translate_map") or {}
        for table in tables:
            to = translated.get(table.schema, table.schema)
            if to != table.schema:
                raise ProjectionError(
                    f"this connection's schema_translate_map leads table {table.name!r} of the inline projection "
                    f"{projection!r} from schema {table.schema!r} to {to!r}, but a projection is of one table: declare "
                    f"one for each schema, Table(…, schema={to!r}), or append on a connection without it"
                )


def _refuse(_: sa.Connection) -> None:
    raise ProjectionError("a handler must not end the transaction: it is the caller's, who appends in it")
