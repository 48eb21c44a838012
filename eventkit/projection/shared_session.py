"""Gives `async def` handlers the projector's transaction, as SQLAlchemy's AsyncConnection.

Two psycopg connections share one libpq connection: the projector's own, which begins and ends transactions, and an
asynchronous one. They never work at the same time, because the projector's thread waits while handlers run on the event
loop. So one commit covers checkpoints, plain handlers and `async def` handlers.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.errors import Error
from sqlalchemy.pool import NullPool

from eventkit.errors import ProjectionError
from eventkit.event_loop import CallInterrupted, event_loop
from eventkit.projection.async_calls import CLEANUP
from eventkit.storage.db import database_errors

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection
try:
    from sqlalchemy.ext.asyncio import create_async_engine
except ImportError:  # without greenlet (the extra `asyncio`), `async def` handlers are refused when declared
    create_async_engine = None  # type: ignore[assignment]
_user: ContextVar[object] = ContextVar("eventkit_handler")  # the handler call that a task belongs to


class SharedSession:
    """The session of one projector, lent to one handler at a time."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        guard: Callable[[sa.Connection], None],
        on_error: Callable[[sa.engine.ExceptionContext], None],
        interrupted: Callable[[], bool],
    ) -> None:
        """Share a connection that has no open transaction; `guard` is called before a transaction ends.

        `interrupted` says whether to stop; a blocked event loop is not waited for then.
        """
        self._owner = connection
        self._interrupted = interrupted
        self._driver: psycopg.AsyncConnection[Any] = psycopg.AsyncConnection(connection.pgconn)
        self._driver.prepare_threshold = None  # its statement names would collide with the owner's
        self._lent: object = None
        with database_errors():
            self.connection: AsyncConnection = event_loop.run(self._connect(), interrupted=interrupted)
        synchronous = self.connection.sync_connection
        assert synchronous is not None, "just connected"  # noqa: S101
        sa.event.listen(synchronous, "commit", guard)
        sa.event.listen(synchronous, "rollback", guard)
        sa.event.listen(synchronous, "before_cursor_execute", self._check_user)
        sa.event.listen(synchronous.engine, "handle_error", on_error)
        sa.event.listen(synchronous.engine, "handle_error", _keep_connected)

    async def lend(self) -> Callable[[], None]:
        """Lend the session to the next handler; return a function that the handler's task calls first."""
        if not self.connection.in_transaction():
            await self.connection.begin()  # else an ORM Session of a handler would begin, and end, one
        self._lent = lent = object()

        def begin() -> None:
            _user.set(lent)

        return begin

    async def take_back(self) -> str:
        """End the loan; return a description of a statement that was still running, or an empty text."""
        self._lent = None
        if not self._driver.lock.locked():
            return ""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP):
                await self._driver.lock.acquire()
            self._driver.lock.release()
            return "a statement of a task that it has started was running"
        self.abandon()
        return "a statement of a task that it has started was running and did not end"

    def abandon(self) -> None:
        """Close the connection, so that PostgreSQL rolls back and no later statement can run."""
        self._lent = None
        self._owner.close()

    def end(self) -> None:
        """Synchronize SQLAlchemy's state after the owner has ended the transaction."""
        if self.connection.in_transaction() and not self._owner.closed:
            with suppress(Error, sa.exc.SQLAlchemyError):  # a lost connection has no transaction either
                event_loop.run(self.connection.rollback(), interrupted=self._interrupted)

    def close(self) -> None:
        if self._owner.closed:
            return
        with suppress(Error, sa.exc.SQLAlchemyError, CallInterrupted):
            event_loop.run(self.connection.close(), interrupted=self._interrupted)

    async def _connect(self) -> "AsyncConnection":
        engine = create_async_engine("postgresql+psycopg://", async_creator=self._lend_driver, poolclass=NullPool)
        return await engine.connect()

    async def _lend_driver(self) -> psycopg.AsyncConnection[Any]:
        return self._driver

    def _check_user(self, *_: object) -> None:
        if _user.get(None) is not self._lent or self._lent is None:
            raise ProjectionError(
                "a task uses the connection of a handler that has returned: its statement would belong to another "
                "event; await the tasks that a handler starts"
            )


def _keep_connected(context: sa.engine.ExceptionContext) -> None:
    """Keep the connection when a handler is cancelled: psycopg has cancelled the statement, so it remains usable."""
    if isinstance(context.original_exception, asyncio.CancelledError):
        context.is_disconnect = False
