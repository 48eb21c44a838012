"""Where a projector's messages come from: a transport, or the event store alone.

A source gives batches, bounded by number, size and time, and is told what was committed. Offsets and positions only say
where to start reading: what has been applied is in the checkpoints.
"""

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.domain.message import Message, total_size
from eventkit.storage.outbox import EventLog, GapReader, message
from eventkit.transports.base import MAX_BYTES, Mark, Subscription

LIMIT = 4_000  # messages in a batch
GATHERING = 0.05  # seconds that a batch may take to fill, while messages keep coming
FEW, PAUSE = 100, 0.005  # after a batch of few messages a pause, in seconds, for more to come: a commit costs more
WAIT = 0.2  # seconds to wait for the first message, so that a request to stop is soon heard
_SHORTEST, _LONGEST = 0.001, 0.03  # seconds between two looks into the store


class TransportSource:
    """One member of a consumer group."""

    position = None

    def __init__(self, subscription: Subscription, *, limit: int = LIMIT, prompt: bool = False) -> None:
        """Take over a subscription; `prompt` returns what is there, and waits for no more."""
        self._subscription = subscription
        self._limit = limit
        self._prompt = prompt
        self._few = False

    @property
    def ready(self) -> bool:
        """Whether the group has given this member its part."""
        return self._subscription.ready

    def receive(self) -> list[Message]:
        """Return what is there at once; go on while more keeps coming."""
        if self._few:
            time.sleep(PAUSE)
        messages = self._subscription.receive(self._limit, WAIT)
        if self._prompt:
            return messages
        deadline = time.monotonic() + GATHERING
        size = total_size(messages)
        while messages and len(messages) < self._limit and size < MAX_BYTES and time.monotonic() < deadline:
            more = self._subscription.receive(self._limit - len(messages), 0)
            if not more:
                break
            messages += more
            size += total_size(more)
        self._few = 0 < len(messages) < min(FEW, self._limit)
        return messages

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return what the broker says."""
        return self._subscription.marks(messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker; losing it means a redelivery, no more."""
        self._subscription.acknowledge(messages)

    def close(self) -> None:
        """Leave the group."""
        self._subscription.close()


class StoreSource:
    """The event store itself, read by the one process that holds the projection's lease."""

    ready = False  # until it has read once

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, after: int, limit: int = LIMIT) -> None:
        """Read above a position, on an autocommit connection of its own."""
        self._reader = GapReader(EventLog(connection, schema), limit=limit, max_bytes=MAX_BYTES)
        self._reader.start_after(after)
        self._position = after
        self._pause = _SHORTEST

    @property
    def position(self) -> int:
        """The position up to which everything that will ever appear has been received."""
        return self._position

    @property
    def seen(self) -> int:
        """The highest position that was looked at; lower ones may still appear."""
        return self._reader.cursor

    def receive(self) -> list[Message]:
        """Return the next events; pause where there are none yet."""
        rows = self._reader.read()
        self.ready = True
        self._position = self._reader.floor()
        self._pause = _SHORTEST if rows else min(self._pause * 2, _LONGEST)
        if not rows:
            time.sleep(self._pause)
        return [message(row) for row in rows]

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none: the position says it."""
        del messages
        return []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: the position is saved with the batch."""

    def close(self) -> None:
        """Leave the connection to its owner."""
