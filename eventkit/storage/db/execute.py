"""Runs steps (generators that yield statements and receive rows) on whatever connection a service has.

Taken are Session, Connection, AsyncSession and AsyncConnection of SQLAlchemy over psycopg, scoped sessions,
psycopg.Connection and psycopg.AsyncConnection. Everything else is refused in a sentence. The caller owns the
transaction: nothing here begins, commits or rolls back. Before an append, a Session that autoflushes flushes, as before
a query: its rows are locked first, the streams after them.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import psycopg
import sqlalchemy
from psycopg.adapt import AdaptersMap
from psycopg.postgres import register_default_adapters
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from eventkit.errors import UnsupportedConnection

T = TypeVar("T")

try:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
except ImportError:  # no greenlet (the extra `asyncio`), so there are none to be handed

    class _None(Generic[T]):
        """Stands for a class that nothing can be of."""

    AsyncConnection = AsyncSession = async_scoped_session = _None  # type: ignore[misc, assignment]

Row = tuple[Any, ...]
Statement = tuple[str, dict[str, Any] | None]  # and its parameters, if it has any
Steps = Generator[Statement, list[Row], T]
Execute = Callable[[str, Mapping[str, Any] | Sequence[Any] | None], list[Row]]

Synchronous = sqlalchemy.Connection | Session | scoped_session[Any] | psycopg.Connection[Any]
Asynchronous = AsyncConnection | AsyncSession | async_scoped_session[Any] | psycopg.AsyncConnection[Any]
_SYNC = (sqlalchemy.Connection, Session, scoped_session, psycopg.Connection)
_ASYNC = (AsyncConnection, AsyncSession, async_scoped_session, psycopg.AsyncConnection)
_TAKEN = (
    "Session, Connection, AsyncSession or AsyncConnection of SQLAlchemy over postgresql+psycopg://, "
    "psycopg.Connection or psycopg.AsyncConnection"
)


_KINDS: dict[int, Callable[[Any], Any]] = {  # of our statements' results, by PostgreSQL's type
    16: lambda value: value in (True, "t"),
    20: int,
    21: int,
    23: int,
    25: str,
}


class _Plain:
    """How psycopg reads and writes values where nobody has registered anything."""

    connection = None
    adapters = AdaptersMap(types=psycopg.adapters.types)


register_default_adapters(_Plain())
_PLAIN = _Plain.adapters


class OpenConnection(NamedTuple):
    """A connection that a Door has let in: how statements run there, and what was behind a Session."""

    execute: Execute
    connection: sqlalchemy.Connection | psycopg.Connection[Any]


class Executor(NamedTuple):
    """How a public function reaches the database: its name, whether it writes, which of a Session's binds it takes."""

    name: str
    writes: bool
    bind_arguments: Mapping[str, Any] | None

    def check(self, connection: object) -> None:
        """Refuse what is no synchronous connection."""
        if not isinstance(connection, _SYNC):
            raise _refused(connection, f"{self.name}_async", _ASYNC)

    def check_async(self, connection: object) -> None:
        """Refuse what is no asynchronous connection."""
        if not isinstance(connection, _ASYNC):
            raise _refused(connection, self.name, _SYNC)

    def run(self, connection: Synchronous, steps: Steps[T]) -> T:
        """Run steps on a synchronous connection."""
        return run(self.open(connection).execute, steps)

    async def run_async(self, connection: Asynchronous, steps: Steps[T]) -> T:
        """Run steps on an asynchronous connection."""
        self.check_async(connection)
        if not isinstance(connection, psycopg.AsyncConnection):
            return await within(connection, lambda synchronous: self.run(synchronous, steps))
        self._check_transaction(connection)
        try:
            statement = next(steps)
            while True:
                cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
                plain_loaders(cursor)
                try:
                    await cursor.execute(*statement)
                    try:
                        rows = await cursor.fetchall()
                    except psycopg.ProgrammingError as error:
                        rows = _no_rows(error)
                except psycopg.Error as error:
                    statement = steps.throw(error)
                else:
                    statement = steps.send(rows)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def open(self, connection: Synchronous) -> OpenConnection:
        """Check a synchronous connection; a Session flushes."""
        self.check(connection)
        if isinstance(connection, psycopg.Connection):
            self._check_transaction(connection)
            return OpenConnection(_on_psycopg(connection), connection)
        if isinstance(connection, scoped_session):
            connection = cast("Session", connection())
        if isinstance(connection, Session):
            connection = self._of_session(connection)
        return OpenConnection(self._on_sqlalchemy(connection), connection)

    def _of_session(self, session: Session) -> sqlalchemy.Connection:
        if self.writes and session.autoflush and not session._flushing:  # noqa: SLF001 as autoflush itself asks
            session.flush()
        try:
            return session.connection(dict(self.bind_arguments) if self.bind_arguments else None)
        except UnboundExecutionError as error:
            raise UnsupportedConnection(
                f"{self.name}: this Session cannot tell which of its binds holds eventkit's tables ({error}): "
                'say it with EventStore(…, bind_arguments={"mapper": YourModel}) or {"bind": engine}'
            ) from error

    def _on_sqlalchemy(self, connection: sqlalchemy.Connection) -> Execute:
        dialect = connection.dialect
        if dialect.driver != "psycopg" or dialect.name != "postgresql":
            raise UnsupportedConnection(
                f"{self.name} does not take {dialect.name}+{dialect.driver}: make the engine with a URL of postgresql+psycopg://"
            )
        self._check_transaction(cast("psycopg.Connection[Any]", connection.connection.driver_connection))
        return _on_driver(connection)

    def _check_transaction(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        """Refuse to write where each statement commits itself: events would not belong to the caller's transaction."""
        encoding = connection.info.parameter_status("client_encoding")
        if encoding != "UTF8":
            raise UnsupportedConnection(
                f"{self.name}: this session's client_encoding is {encoding}, and events are text of any language: "
                "connect with client_encoding=utf8 (it comes from the role, the database or PGCLIENTENCODING)"
            )
        if self.writes and connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            raise UnsupportedConnection(
                f"{self.name}: this connection is in autocommit, outside of a transaction, so events could not be "
                "written together with your own rows: begin a transaction (psycopg: `with connection.transaction():`; "
                "SQLAlchemy: another isolation level)"
            )


async def within(
    connection: AsyncConnection | AsyncSession | async_scoped_session[Any], function: Callable[[Synchronous], T]
) -> T:
    """Call a synchronous function with the synchronous face of an asynchronous connection of SQLAlchemy's."""
    if isinstance(connection, async_scoped_session):
        connection = cast("AsyncSession", connection())
    return await connection.run_sync(function)


def run(execute: Execute, steps: Steps[T]) -> T:
    """Run steps on a connection that is open."""
    try:
        statement = next(steps)
        while True:
            statement = _next(steps, statement, execute)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _next(steps: Steps[Any], statement: Statement, execute: Execute) -> Statement:
    try:
        rows = execute(*statement)
    except (psycopg.Error, DBAPIError) as error:
        return steps.throw(error)
    return steps.send(rows)


def _on_psycopg(connection: psycopg.Connection[Any]) -> Execute:
    def execute(text: str, params: Mapping[str, Any] | Sequence[Any] | None) -> list[Row]:
        cursor = psycopg.Cursor(connection, row_factory=tuple_row)  # whatever factories the connection has
        plain_loaders(cursor)
        cursor.execute(text, params)
        try:
            return cursor.fetchall()  # in a pipeline it waits for the answer, which `description` would not
        except psycopg.ProgrammingError as error:
            return _no_rows(error)

    return execute


def _no_rows(error: psycopg.ProgrammingError) -> list[Row]:
    """Return no rows where the statement was one that has none; raise what is an error of the server's."""
    if error.sqlstate is None and type(error) is psycopg.ProgrammingError:
        return []
    raise error


def _on_driver(connection: sqlalchemy.Connection) -> Execute:
    changed = _changed(cast("psycopg.Connection[Any]", connection.connection.driver_connection).adapters)

    def execute(text: str, params: Mapping[str, Any] | Sequence[Any] | None) -> list[Row]:
        result = connection.exec_driver_sql(text, cast("Any", params))
        if not result.returns_rows:
            return []
        if changed and isinstance(result.cursor, psycopg.Cursor):
            plain_loaders(result.cursor)
        elif changed:  # of an asynchronous connection: its rows were read already
            return _converted(result)
        return [tuple(row) for row in result]

    return execute


def _converted(result: sqlalchemy.CursorResult[Any]) -> list[Row]:
    columns = cast("Sequence[Sequence[Any]]", result.cursor.description)
    kinds = [_KINDS.get(column[1]) for column in columns]
    return [
        tuple(kind(value) if kind and value is not None else value for kind, value in zip(kinds, row, strict=True))
        for row in result
    ]


def plain_loaders(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> None:
    """Read numbers and text as psycopg does by itself, whatever the caller has registered for the connection."""
    for oid in _changed(cursor.adapters):
        loader = _PLAIN.get_loader(oid, Format.TEXT)
        if loader is not None:
            cursor.adapters.register_loader(oid, loader)


def _changed(adapters: AdaptersMap) -> list[int]:
    """Return the types, of those that our statements return, that the caller has made to be read in another way."""
    return [oid for oid in _KINDS if adapters.get_loader(oid, Format.TEXT) is not _PLAIN.get_loader(oid, Format.TEXT)]


def _refused(connection: object, other: str, others: tuple[type, ...]) -> UnsupportedConnection:
    kind = type(connection)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(connection, others):
        wait = "await " if other.endswith("_async") else ""
        return UnsupportedConnection(f"a {name} is {'a' if wait else 'no'}synchronous: call `{wait}{other}(…)` with it")
    return UnsupportedConnection(f"a {name} ({connection!r:.100}) cannot be used here: give it a {_TAKEN}")
