"""The sources of a projector's messages: a transport, or the event store.

A source returns batches, bounded by number, size and time; the projector acknowledges each after its commit. Offsets
and positions are only the place to start reading: the checkpoints record which events were applied.
"""

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.domain.message import Message, total_size
from eventkit.storage.outbox import EventLog, GapReader, received
from eventkit.transports.base import MAX_BYTES, Mark, PlacedSubscription, Subscription

LIMIT = 4_000  # messages in a batch
GATHER_TIME = 0.05  # seconds that a batch may take to fill, while messages keep coming
SMALL_BATCH = 100  # messages; after a batch of fewer, wait for more to come: a commit costs more than the pause
SMALL_BATCH_PAUSE = 0.005  # seconds
RECEIVE_WAIT = 0.2  # seconds to wait for the first message; a stop request waits as long
_MIN_POLL_WAIT, _MAX_POLL_WAIT = 0.001, 0.03  # seconds between two polls of the store


class TransportSource:
    """One member of a consumer group."""

    position = None

    def __init__(self, subscription: Subscription, *, limit: int = LIMIT, prompt: bool = False) -> None:
        """Own a subscription; with `prompt`, a batch does not wait for more messages."""
        self._subscription = subscription
        self._placed = subscription if isinstance(subscription, PlacedSubscription) else None
        self._limit = limit
        self._prompt = prompt
        self._was_small = False  # the last batch

    @property
    def ready(self) -> bool:
        """Whether the group has assigned shards to this member."""
        return self._subscription.ready

    def receive(self) -> list[Message]:
        """Return the available messages; receive more as long as they keep coming."""
        if self._was_small:
            time.sleep(SMALL_BATCH_PAUSE)
        messages = self._subscription.receive(self._limit, RECEIVE_WAIT)
        if self._prompt:
            return messages
        deadline = time.monotonic() + GATHER_TIME
        more, size = messages, 0
        while more and len(messages) < self._limit and time.monotonic() < deadline:
            size += total_size(more)
            if size >= MAX_BYTES:
                break
            more = self._subscription.receive(self._limit - len(messages), 0)
            messages += more
        self._was_small = 0 < len(messages) < min(SMALL_BATCH, self._limit)
        return messages

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the marks of these messages; none if the broker has no places."""
        return self._placed.marks(messages) if self._placed else []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge at the broker; a lost acknowledgement causes a redelivery."""
        self._subscription.acknowledge(messages)

    def close(self) -> None:
        """Leave the group."""
        self._subscription.close()


class StoreSource:
    """The event store, read by the one process that holds the projection's lease."""

    ready = False  # until it has read once

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, after: int, limit: int = LIMIT) -> None:
        """Read above the position `after`, on an autocommit connection that nothing else uses."""
        self._reader = GapReader(EventLog(connection, schema), limit=limit, max_bytes=MAX_BYTES)
        self._reader.start_after(after)
        self._position = after
        self._pause = _MIN_POLL_WAIT

    @property
    def position(self) -> int:
        """The position below which no further event can appear; all events up to it were received."""
        return self._position

    @property
    def seen(self) -> int:
        """The highest position that was read; events may still appear below it."""
        return self._reader.cursor

    def receive(self) -> list[Message]:
        """Return the next events; pause if there are none yet."""
        rows = self._reader.read()
        self.ready = True
        self._position = self._reader.floor()
        self._pause = _MIN_POLL_WAIT if rows else min(self._pause * 2, _MAX_POLL_WAIT)
        if not rows:
            time.sleep(self._pause)
        return [received(row) for row in rows]

    def marks(self, messages: Sequence[Message]) -> list[Mark]:  # noqa: ARG002 a position needs no marks
        """Return none: the position is enough."""
        return []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: the position is saved with the batch."""

    def close(self) -> None:
        """Do nothing: the owner closes the connection."""
