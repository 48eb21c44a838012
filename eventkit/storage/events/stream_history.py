"""One stream's events by version, read where the event store is: what a transport has lost is repaired from here.

The store's tables are in every database that holds read models, empty where the store is elsewhere: then a URL names
the store's database. Only the primary is asked; a standby shows commits in another order.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import psycopg

from eventkit.domain.message import Message
from eventkit.errors import EventkitError
from eventkit.storage.db import database_errors
from eventkit.storage.events.digests import Question, Stored, ask
from eventkit.storage.outbox import AMENDED, AS_TEXT, NEARLY_BYTES, message

logger = logging.getLogger("eventkit.projection")

T = TypeVar("T")

MAX_BYTES = 8_000_000  # of the events that are read at once; a single one may exceed it
# By the unique index on (stream, version). The running sum bounds the bytes before any large value is fetched.
_READ = (
    "select position, '', "
    + AS_TEXT
    + f""" from (
  select *, sum(bytes) over (order by version rows unbounded preceding) as running from (
    select e.*, {NEARLY_BYTES} as bytes from {{s}}.events e
     where stream = %s and version > %s and version < %s order by version limit %s) e) e """
    + AMENDED
    + f"""
 where running - bytes < {MAX_BYTES}
 order by e.version -- a bare `version` would be the text above
"""
)
_PRUNED_TO = "select pruned_to from {s}.streams where stream = %s"


class History(Protocol):
    """Where missing events are read."""

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        """Return a stream's events between two versions, tagged with positions; none where the store is away.

        The last ones are left out where there are more than `limit`, or more bytes than are read at once.
        """

    def pruned_to(self, stream: str) -> int:
        """Return up to which version the store has pruned a stream; 0 where it has not, or is away."""

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        """Return what the store has of streams, in the order of the questions; an empty list where it is away."""

    def close(self) -> None:
        """Let go of connections."""


class OwnHistory:
    """The store in the read models' database, read on the projector's own connection, within its transaction."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        """Share the connection."""
        self._connection = connection
        self._schema = f'"{schema}"'
        self._statement = _READ.format(s=f'"{schema}"').encode()
        self._pruned_to = _PRUNED_TO.format(s=f'"{schema}"').encode()

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        """Return a stream's events between two versions."""
        return [message(row) for row in self._connection.execute(self._statement, (stream, after, before, limit))]

    def pruned_to(self, stream: str) -> int:
        """Return up to which version a stream was pruned."""
        row = self._connection.execute(self._pruned_to, (stream,)).fetchone()
        return int(row[0]) if row else 0

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        """Return what the store has of streams."""
        return ask(self._connection, self._schema, questions)

    def close(self) -> None:
        """Leave the connection to its owner."""


class RemoteHistory:
    """The store in another database; connected when it is first needed, and again after a failure."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], schema: str) -> None:
        """Take a function that opens an autocommit connection to the store's primary."""
        self._connect = connect
        self._schema = f'"{schema}"'
        self._statement = _READ.format(s=f'"{schema}"').encode()
        self._pruned_to = _PRUNED_TO.format(s=f'"{schema}"').encode()
        self._connection: psycopg.Connection[Any] | None = None

    def between(self, stream: str, after: int, before: int, *, limit: int) -> list[Message]:
        """Return a stream's events between two versions; none, and a warning, where the store can't be reached."""
        rows = self._try(
            stream, lambda store: store.execute(self._statement, (stream, after, before, limit)).fetchall()
        )
        return [message(row) for row in rows]

    def pruned_to(self, stream: str) -> int:
        """Return up to which version a stream was pruned, as far as the store can be reached."""
        rows = self._try(stream, lambda store: store.execute(self._pruned_to, (stream,)).fetchall())
        return max((int(row[0]) for row in rows), default=0)

    def ask(self, questions: Sequence[Question]) -> list[Stored]:
        """Return what the store has of streams; an empty list, and a warning, where the store can't be reached."""
        return self._try(questions[0].stream, lambda store: ask(store, self._schema, questions))

    def _try(self, stream: str, read: Callable[[psycopg.Connection[Any]], list[T]]) -> list[T]:
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
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
