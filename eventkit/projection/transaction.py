"""The transaction in which handlers run: a projector's own, READ COMMITTED.

SQL projections get the same transaction as a SQLAlchemy Connection, which can neither commit nor roll it back: that
would separate the read model from its checkpoints.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import TransactionStatus
from sqlalchemy.pool import NullPool

from eventkit.errors import ProjectionError
from eventkit.projection.async_calls import AsyncCall, AsyncCalls
from eventkit.projection.shared_session import SharedSession
from eventkit.storage.db import database_errors

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_ABORTED = (
    "the transaction is aborted, or was ended inside: a handler has swallowed a database error (it may use a savepoint)"
)


class Workspace:
    """A connection, and its transaction in which a projection's handlers run; used by one thread."""

    broken = False  # whether the last failure aborted its transaction or lost the connection

    def __init__(self, connection: psycopg.Connection[Any], *, shadow: str | None = None) -> None:
        """Work on a connection; `shadow` is the PostgreSQL schema of a rebuild's tables."""
        self.connection = connection
        self.shadow = shadow

    @property
    def sqlalchemy(self) -> sa.Connection:
        """The open transaction as a SQLAlchemy Connection."""
        raise NotImplementedError

    @property
    def async_connection(self) -> "AsyncConnection":
        """The open transaction as SQLAlchemy's AsyncConnection, for functions that `call_async` calls."""
        raise NotImplementedError

    def call_async(self, calls: Sequence[AsyncCall]) -> list[Any]:
        """Call `async def` handlers one after another, wait for them, and return their results."""
        raise NotImplementedError

    def transaction(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Commit the statements of the block, or roll all of them back."""
        raise NotImplementedError

    def when_committed(self, call: Callable[[], None]) -> None:
        """Call a function after the commit of the open transaction; not after a rollback."""
        raise NotImplementedError


class OwnTransaction(Workspace):
    """A connection of its own, and its transactions one after another."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        with_sqlalchemy: bool = False,
        async_timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        shadow: str | None = None,
    ) -> None:
        """Take over a connection that is not in autocommit; raise DatabaseUnavailable if it is lost.

        `async_timeout` is the time limit of `async def` handlers in seconds; None if there are none. They are cancelled
        when `interrupted` returns True.
        """
        with database_errors():
            connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        super().__init__(connection, shadow=shadow)
        self._is_ending = True  # whether this class, and no handler, ends the transaction
        self._swallowed: BaseException | None = None  # the last statement error that SQLAlchemy has reported
        self._committed: list[Callable[[], None]] = []
        # SQLAlchemy queries the server in its own transaction when it connects, so no other one may be open here.
        self._sqlalchemy = self._connect() if with_sqlalchemy else None
        self._shared = self._share(interrupted) if with_sqlalchemy and async_timeout is not None else None
        self._calls = AsyncCalls(
            self._shared,
            timeout=async_timeout or 0,
            keep_alive=lambda: connection.execute("select 1"),
            interrupted=interrupted,
        )

    @property
    def sqlalchemy(self) -> sa.Connection:
        """The open transaction as a SQLAlchemy Connection."""
        if self._sqlalchemy is None:
            raise ProjectionError("this workspace was opened without SQLAlchemy")
        return self._sqlalchemy

    @property
    def async_connection(self) -> "AsyncConnection":
        """The open transaction as SQLAlchemy's AsyncConnection, for functions that `call_async` calls."""
        if self._shared is None:
            raise ProjectionError("this workspace was opened without `async def` handlers")
        return self._shared.connection

    def call_async(self, calls: Sequence[AsyncCall]) -> list[Any]:
        """Call `async def` handlers one after another, wait for them, and return their results."""
        return self._calls.run(calls)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Commit the statements of the block, or roll all of them back."""
        ending: Any = self.connection if self._sqlalchemy is None else self._sqlalchemy.begin()
        self._is_ending = False
        self._committed.clear()
        self._swallowed = None
        try:
            yield self.connection
            self._is_ending = True
            self._check()
            # crash point: applied, not committed -> delivered again, applied then
            ending.commit()
            self._end_shared()
        except BaseException as error:
            self._is_ending = True
            self.broken = self.connection.info.transaction_status != TransactionStatus.INTRANS
            self._rollback()
            if isinstance(getattr(error, "orig", error), InFailedSqlTransaction):
                raise self._aborted() from self._swallowed
            raise
        for call in self._committed:
            call()

    def _aborted(self) -> ProjectionError:
        return ProjectionError(f"{_ABORTED}: {self._swallowed}" if self._swallowed else _ABORTED)

    def when_committed(self, call: Callable[[], None]) -> None:
        """Call a function after the commit of the open transaction; not after a rollback."""
        self._committed.append(call)

    def _rollback(self) -> None:
        with suppress(psycopg.Error, sa.exc.SQLAlchemyError):  # the original error says more
            if self._sqlalchemy is not None and self._sqlalchemy.get_transaction() is not None:
                self._sqlalchemy.rollback()
        with suppress(psycopg.Error):  # SQLAlchemy does nothing after a handler has tried to end the transaction
            self.connection.rollback()
        self._end_shared()

    def _end_shared(self) -> None:
        if self._shared is not None:
            self._shared.end()

    def _check(self) -> None:
        """Raise an error for an aborted transaction: PostgreSQL answers its COMMIT with ROLLBACK, without an error."""
        if self.connection.info.transaction_status != TransactionStatus.INTRANS:
            raise self._aborted() from self._swallowed

    def close(self) -> None:
        """Close the connection, which rolls back an open transaction."""
        if self._shared is not None:
            self._shared.close()
        self.connection.close()

    def _share(self, interrupted: Callable[[], bool]) -> SharedSession:
        return SharedSession(self.connection, guard=self._guard, on_error=self._remember, interrupted=interrupted)

    def _connect(self) -> sa.Connection:
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda: self.connection, poolclass=NullPool)
        with database_errors():
            connection = engine.connect()
        sa.event.listen(connection, "commit", self._guard)
        sa.event.listen(connection, "rollback", self._guard)
        sa.event.listen(engine, "handle_error", self._remember)
        return connection

    def _remember(self, context: sa.engine.ExceptionContext) -> None:
        if not isinstance(context.original_exception, InFailedSqlTransaction):  # it does not say why
            self._swallowed = context.original_exception

    def _guard(self, _: sa.Connection) -> None:
        if not self._is_ending:
            raise ProjectionError(
                "a handler must not end the transaction: the projector commits it together with the checkpoints"
            )
