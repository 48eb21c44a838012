"""Runs steps (generators that yield statements and receive rows) on a service's own session or connection.

These are Session, Connection, AsyncSession and AsyncConnection of SQLAlchemy over psycopg or asyncpg, scoped sessions,
and connections of psycopg, asyncpg and Django. Anything else raises UnsupportedConnection. The caller owns the
transaction: nothing here begins, commits or rolls back. Before an append, a Session with autoflush flushes, as before a
query: its rows are locked first, the streams after them.

Steps handle psycopg's errors, with every driver. An error that they do not handle is raised as the driver's own.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, cast

import psycopg
import sqlalchemy
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from eventkit.domain.functions import name_of_class
from eventkit.errors import UnsupportedConnection
from eventkit.storage.db.asyncpg_statements import AsyncpgConnection, is_asyncpg
from eventkit.storage.db.django_connection import DjangoConnection, is_django, psycopg_of
from eventkit.storage.db.driver_errors import psycopg_error
from eventkit.storage.db.row_loaders import Row
from eventkit.storage.db.statements import (
    Execute,
    Fetch,
    on_asyncpg,
    on_psycopg,
    on_psycopg_async,
    on_sqlalchemy,
    on_sqlalchemy_asyncpg,
)

__all__ = [
    "INTERRUPTED",
    "Asynchronous",
    "Executor",
    "OpenConnection",
    "Row",
    "Statement",
    "Steps",
    "Synchronous",
    "run",
    "within",
]
T = TypeVar("T")

try:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
except ImportError:  # without greenlet (the extra `asyncio`) no caller has one of these

    class _None(Generic[T]):
        """Stands for a class without instances."""

    AsyncConnection = AsyncSession = async_scoped_session = _None  # type: ignore[misc, assignment]

Statement = tuple[str, dict[str, Any] | None]  # and its parameters, if it has any
Steps = Generator[Statement, list[Row], T]

Synchronous = sqlalchemy.Connection | Session | scoped_session[Any] | psycopg.Connection[Any] | DjangoConnection
Asynchronous = (
    AsyncConnection | AsyncSession | async_scoped_session[Any] | psycopg.AsyncConnection[Any] | AsyncpgConnection
)
_SYNC = (sqlalchemy.Connection, Session, scoped_session, psycopg.Connection)
_ASYNC = (AsyncConnection, AsyncSession, async_scoped_session, psycopg.AsyncConnection)
_DRIVERS = ("psycopg", "asyncpg")  # of SQLAlchemy
_IDLE = TransactionStatus.IDLE
_SUPPORTED = (
    "Session, Connection, AsyncSession or AsyncConnection of SQLAlchemy over postgresql+psycopg:// or, asynchronous, "
    "postgresql+asyncpg://, psycopg.Connection, psycopg.AsyncConnection, asyncpg.Connection, or Django's connection "
    "within transaction.atomic()"
)
INTERRUPTED = (asyncio.CancelledError, KeyboardInterrupt, TimeoutError)
"""Errors that end a statement from outside: a cancelled task, a signal, the time limit of asyncpg's connection."""


class OpenConnection(NamedTuple):
    """A checked connection: the function that runs statements on it, and the connection below a Session."""

    execute: Execute
    connection: sqlalchemy.Connection | psycopg.Connection[Any]

    @property
    def is_psycopg(self) -> bool:
        """Whether psycopg is the driver."""
        return isinstance(self.connection, psycopg.Connection) or self.connection.dialect.driver == "psycopg"

    @property
    def driver(self) -> psycopg.Connection[Any]:
        """Psycopg's connection; an asynchronous one has the same attributes, and other methods."""
        connection = self.connection
        found = connection.connection.driver_connection if isinstance(connection, sqlalchemy.Connection) else connection
        return cast("psycopg.Connection[Any]", found)

    def is_idle(self) -> bool:
        """Whether the caller's transaction has not begun yet; in a pipeline this is unknown, and False."""
        pgconn = self.driver.pgconn
        return pgconn.transaction_status == TransactionStatus.IDLE and pgconn.pipeline_status == PipelineStatus.OFF

    def is_lost(self) -> bool:
        """Whether the transaction has ended or is aborted; in a pipeline this is unknown, and False."""
        pgconn = self.driver.pgconn
        return pgconn.transaction_status != TransactionStatus.INTRANS and pgconn.pipeline_status == PipelineStatus.OFF


class Executor(NamedTuple):
    """Runs the steps of one public function.

    It has the function's name, whether it writes, the arguments that select a Session's bind, and the PostgreSQL schema
    of its statements. The schema is None for statements on eventkit's own sessions.
    """

    name: str
    writes: bool
    bind_arguments: Mapping[str, Any] | None
    schema: str | None = None

    def check(self, connection: object) -> None:
        """Raise UnsupportedConnection unless this is a synchronous connection."""
        if not (isinstance(connection, _SYNC) or is_django(connection)):
            raise _refused(connection, f"{self.name}_async")

    def check_async(self, connection: object) -> None:
        """Raise UnsupportedConnection unless this is an asynchronous connection."""
        if not (isinstance(connection, _ASYNC) or is_asyncpg(connection)):
            raise _refused(connection, self.name)

    def run(self, connection: Synchronous, steps: Steps[T]) -> T:
        """Run steps on a synchronous connection."""
        if type(connection) is psycopg.Connection:  # the shortest way: an append costs little more than its statement
            self._check_psycopg(connection)
            return run(on_psycopg(connection), steps)
        return run(self.open(connection).execute, steps)

    async def run_async(self, connection: Asynchronous, steps: Steps[T]) -> T:
        """Run steps on an asynchronous connection."""
        self.check_async(connection)
        if isinstance(connection, psycopg.AsyncConnection):
            self._check_psycopg(connection)
            return await _run_async(on_psycopg_async(connection), steps)
        if is_asyncpg(connection):
            self._check_asyncpg(connection)
            return await _run_async(on_asyncpg(connection), steps)
        sessions = cast("AsyncConnection | AsyncSession | async_scoped_session[Any]", connection)
        return await within(sessions, lambda synchronous: run(self._open(synchronous).execute, steps))

    def open(self, connection: Synchronous, *, keeps: bool = False) -> OpenConnection:
        """Check a synchronous connection and open it; a Session with autoflush flushes before a write.

        On a psycopg connection it `keeps` the cursors of the statements, for the next call.
        """
        if type(connection) is psycopg.Connection:  # the cheapest to recognize
            self._check_psycopg(connection)
            return OpenConnection(on_psycopg(connection, keeps=keeps), connection)
        self.check(connection)
        return self._open(connection)

    def _open(self, connection: Synchronous) -> OpenConnection:
        if is_django(connection):
            connection = psycopg_of(connection, self.name, writes=self.writes)
        if isinstance(connection, psycopg.Connection):
            self._check_psycopg(connection)
            return OpenConnection(on_psycopg(connection), connection)
        if isinstance(connection, scoped_session):
            connection = cast("Session", connection())
        if isinstance(connection, Session):
            connection = self._of_session(connection)
        return self._of_sqlalchemy(cast("sqlalchemy.Connection", connection))

    def _of_session(self, session: Session) -> sqlalchemy.Connection:
        if self.writes and session.autoflush and not session._flushing:  # noqa: SLF001 as autoflush itself asks
            session.flush()
        try:
            return session.connection(dict(self.bind_arguments) if self.bind_arguments else None)
        except UnboundExecutionError as error:
            raise UnsupportedConnection(
                f"{self.name}: this Session has several binds, and none is known to hold eventkit's tables ({error}): "
                'name it with EventStore(…, bind_arguments={"mapper": YourModel}) or {"bind": engine}'
            ) from error

    def _of_sqlalchemy(self, connection: sqlalchemy.Connection) -> OpenConnection:
        dialect = connection.dialect
        if dialect.driver not in _DRIVERS or dialect.name != "postgresql":
            raise UnsupportedConnection(
                f"{self.name} does not support {dialect.name}+{dialect.driver}: make the engine with a URL of "
                "postgresql+psycopg://, or an asynchronous one with postgresql+asyncpg://"
            )
        self._check_translation(connection)
        driver = cast("Any", connection.connection.driver_connection)
        if is_asyncpg(driver):
            self._check_asyncpg(driver, begins=not cast("Any", connection.connection.dbapi_connection).autocommit)
            return OpenConnection(on_sqlalchemy_asyncpg(connection), connection)
        self._check_psycopg(driver)
        return OpenConnection(on_sqlalchemy(connection), connection)

    def _check_translation(self, connection: sqlalchemy.Connection) -> None:
        """Refuse a connection that maps the schema to another one: eventkit's statements name theirs as text."""
        translated = connection.get_execution_options().get("schema_translate_map") or {}
        to = translated.get(self.schema, self.schema)
        if self.schema is not None and to != self.schema:
            raise UnsupportedConnection(
                f"{self.name}: this connection's schema_translate_map maps schema {self.schema!r} to {to!r}, and "
                f"eventkit's statements do not use it: give EventStore(…, schema={to!r}), or leave {self.schema!r} "
                "out of the map"
            )

    def _check_psycopg(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        status = connection.pgconn.transaction_status
        if connection.pgconn.parameter_status(b"client_encoding") != b"UTF8":
            self._check_encoding(connection.info.parameter_status("client_encoding"))
        if self.writes and status == _IDLE and connection.autocommit:
            self._check_transaction(begins=False)

    def _check_asyncpg(self, connection: AsyncpgConnection, *, begins: bool = False) -> None:
        reported = str(getattr(connection.get_settings(), "client_encoding", "UTF8"))
        self._check_encoding(reported.strip("'").replace("-", "").upper())  # PgBouncer repeats asyncpg's own 'utf-8'
        self._check_transaction(begins=begins or connection.is_in_transaction())

    def _check_encoding(self, encoding: str | None) -> None:
        if encoding != "UTF8":
            raise UnsupportedConnection(
                f"{self.name}: this session's client_encoding is {encoding}, and events are text of any language: "
                "connect with client_encoding=utf8 (it comes from the role, the database or PGCLIENTENCODING)"
            )

    def _check_transaction(self, *, begins: bool) -> None:
        """Refuse to write where each statement commits itself: events would be outside of the caller's transaction."""
        if self.writes and not begins:
            raise UnsupportedConnection(
                f"{self.name}: this connection is in autocommit, outside of a transaction, so events could not be "
                "written together with your own rows: begin a transaction (psycopg: `with connection.transaction():`; "
                "asyncpg: `async with connection.transaction():`; SQLAlchemy: another isolation level)"
            )


async def within(
    connection: AsyncConnection | AsyncSession | async_scoped_session[Any], function: Callable[[Synchronous], T]
) -> T:
    """Call a function with the synchronous session or connection inside an asynchronous one of SQLAlchemy."""
    if isinstance(connection, async_scoped_session):
        connection = cast("AsyncSession", connection())
    return await connection.run_sync(function)


def run(execute: Execute, steps: Steps[T]) -> T:
    """Run steps on an open connection."""
    try:
        statement = next(steps)
        while True:
            try:
                rows = execute(*statement)
            except (Exception, *INTERRUPTED) as error:  # noqa: BLE001 raised again, unless the steps handle it
                statement = _throw(steps, error)
            else:
                statement = steps.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _run_async(fetch: Fetch, steps: Steps[T]) -> T:
    try:
        statement = next(steps)
        while True:
            try:
                rows = await fetch(*statement)
            except (Exception, *INTERRUPTED) as error:  # noqa: BLE001 raised again, unless the steps handle it
                statement = _throw(steps, error)
            else:
                statement = steps.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _throw(steps: Steps[Any], error: BaseException) -> Statement:
    """Let the steps handle an error; raise the driver's own where they do not."""
    known = psycopg_error(error) or error
    try:
        return steps.throw(known)
    except BaseException as unhandled:
        if unhandled is not known or known is error:
            raise
    raise error


def _refused(connection: object, other: str) -> UnsupportedConnection:
    name = name_of_class(type(connection))
    asynchronous = isinstance(connection, _ASYNC) or is_asyncpg(connection)
    if asynchronous or isinstance(connection, _SYNC) or is_django(connection):
        called, wait = ("asynchronous", "await ") if asynchronous else ("synchronous", "")
        return UnsupportedConnection(f"a {name} is {called}: call `{wait}{other}(…)` with it")
    advice = "it makes connections, use one of them: " if _is_pool(connection) else ""
    return UnsupportedConnection(f"a {name} cannot be used here: {advice}give it a {_SUPPORTED}")


def _is_pool(connection: object) -> bool:
    """Return whether the object is an engine or a pool."""
    return any(callable(getattr(connection, name, None)) for name in ("connect", "acquire", "getconn"))
