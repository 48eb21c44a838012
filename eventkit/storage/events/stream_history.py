"""Reads one stream's events by version from the event store, to repair events that a transport has lost.

Every database with read models has the store's tables. They are empty where the store is in another database, and then
a URL names that database. Only the primary is read: a standby shows commits in another order.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import psycopg

from eventkit.domain.message import Message
from eventkit.errors import EventkitError
from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.events.digests import Question, Stored, ask
from eventkit.storage.outbox import AMENDED, AS_TEXT, NEARLY_BYTES, message

logger = logging.getLogger("eventkit.projection")

T = TypeVar("T")

MAX_BYTES = 8_000_000  # of the events of one read; a single event may exceed it
# By the unique index on (stream, version). The running sum bounds the bytes before any large value is fetched.
_READ = f"""select position, '', {AS_TEXT} from (
  select *, sum(bytes) over (order by version rows unbounded preceding) as running from (
    select e.*, {NEARLY_BYTES} as bytes from {{s}}.events e
     where stream = %s and version > %s and version < %s order by version limit %s) e) e {AMENDED}
 where running - bytes < {MAX_BYTES}
 order by e.version -- a bare `version` would be the text above
"""
_PRUNED_TO = "select pruned_to from {s}.streams where stream = %s"


class History(Protocol):
    """The source of missing events."""

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        """Return a stream's events between two versions, tagged with positions; none where the store is unavailable.

        The last ones are left out where there are more than `limit`, or more than MAX_BYTES.
        """

    def pruned_to(self, stream: str) -> int:
        """Return the version up to which a stream was pruned; 0 where it was not, or the store is unavailable."""

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        """Return the store's answers, in the order of the questions; an empty list where it is unavailable."""

    def close(self) -> None:
        """Close connections that belong to this object."""


class OwnHistory:
    """The store in the read models' database, read on the projector's own connection, within its transaction."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._statement = in_schema(_READ, schema)
        self._pruned_to = in_schema(_PRUNED_TO, schema)

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        return [message(row) for row in self._connection.execute(self._statement, (stream, after, before, limit))]

    def pruned_to(self, stream: str) -> int:
        row = self._connection.execute(self._pruned_to, (stream,)).fetchone()
        return int(row[0]) if row else 0

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        return ask(self._connection, self._schema, questions)

    def close(self) -> None:
        """Do nothing: the connection belongs to the projector."""


class RemoteHistory:
    """The store in another database; connected when it is first needed, and again after a failure."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], schema: str) -> None:
        self._connect = connect  # opens an autocommit connection to the store's primary
        self._schema = schema
        self._statement = in_schema(_READ, schema)
        self._pruned_to = in_schema(_PRUNED_TO, schema)
        self._connection: psycopg.Connection[Any] | None = None

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        rows = self._try(
            stream, lambda store: store.execute(self._statement, (stream, after, before, limit)).fetchall()
        )
        return [message(row) for row in rows]

    def pruned_to(self, stream: str) -> int:
        rows = self._try(stream, lambda store: store.execute(self._pruned_to, (stream,)).fetchall())
        return max((int(row[0]) for row in rows), default=0)

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        return self._try(questions[0].stream, lambda store: ask(store, self._schema, questions))

    def _try(self, stream: str, read: Callable[[psycopg.Connection[Any]], list[T]]) -> list[T]:
        """Read from the store; log a warning and return nothing where it is unavailable."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with database_errors():
                return read(self._connection)
        except EventkitError as error:
            logger.warning("the event store cannot be read for %s: %s", stream, error)
            self.close()
            return []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
