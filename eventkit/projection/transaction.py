"""The projector's connection and its transactions: READ COMMITTED, committed or forgotten whole.

SQL projections get the same transaction as a SQLAlchemy Connection, which can neither commit it nor roll it back: that
would part the read model from its checkpoints.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import TransactionStatus
from sqlalchemy.pool import NullPool

from eventkit.errors import ProjectionError
from eventkit.storage.db.connect import database_errors

_ABORTED = (
    "the transaction is aborted, or was ended inside: a handler has swallowed a database error (it may use a savepoint)"
)


class OwnTransaction:
    """One connection to the database of the read models; used by one thread."""

    def __init__(self, connection: psycopg.Connection[Any], *, with_sqlalchemy: bool = False) -> None:
        """Take over a connection that is not in autocommit; DatabaseUnavailable where it is lost by now."""
        with database_errors():
            connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self.connection = connection
        self.broken = False  # whether the last transaction that failed was aborted, or lost with its connection
        self._ours = True  # whether it is this class that ends a transaction
        self._swallowed: BaseException | None = None  # the last error of a statement that SQLAlchemy has seen
        self._committed: list[Callable[[], None]] = []
        # SQLAlchemy looks around in a transaction of its own when it connects: here, where there is none of ours yet.
        self._sqlalchemy = self._connect() if with_sqlalchemy else None

    @property
    def sqlalchemy(self) -> sa.Connection:
        """The open transaction as a SQLAlchemy Connection."""
        if self._sqlalchemy is None:
            raise ProjectionError("this workspace was opened without SQLAlchemy")
        return self._sqlalchemy

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Commit what is done inside, or roll all of it back."""
        ending: Any = self.connection if self._sqlalchemy is None else self._sqlalchemy.begin()
        self._ours = False
        self._committed.clear()
        self._swallowed = None
        try:
            yield self.connection
            self._ours = True
            self._check()
            # crash point: applied, not committed -> delivered again, applied then
            ending.commit()
        except BaseException as error:
            self._ours = True
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
        """Call it when the open transaction is committed; never, where it is rolled back."""
        self._committed.append(call)

    def _rollback(self) -> None:
        with suppress(psycopg.Error, sa.exc.SQLAlchemyError):  # the error that is under way says more
            if self._sqlalchemy is not None and self._sqlalchemy.get_transaction() is not None:
                self._sqlalchemy.rollback()
        with suppress(psycopg.Error):  # SQLAlchemy does nothing where a handler has tried to end the transaction
            self.connection.rollback()

    def _check(self) -> None:
        """Refuse to commit where there is nothing to commit: PostgreSQL answers COMMIT with ROLLBACK, and no error."""
        if self.connection.info.transaction_status != TransactionStatus.INTRANS:
            raise self._aborted() from self._swallowed

    def close(self) -> None:
        """Let go of the connection; an open transaction is rolled back."""
        self.connection.close()

    def _connect(self) -> sa.Connection:
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda: self.connection, poolclass=NullPool)
        with database_errors():
            connection = engine.connect()
        sa.event.listen(connection, "commit", self._guard)
        sa.event.listen(connection, "rollback", self._guard)
        sa.event.listen(engine, "handle_error", self._remember)
        return connection

    def _remember(self, context: sa.engine.ExceptionContext) -> None:
        if not isinstance(context.original_exception, InFailedSqlTransaction):  # it says nothing of why
            self._swallowed = context.original_exception

    def _guard(self, _: sa.Connection) -> None:
        if not self._ours:
            raise ProjectionError(
                "a handler must not end the transaction: the projector commits it together with the checkpoints"
            )
