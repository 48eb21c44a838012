"""Messages that have arrived and wait for `receive`, bounded by bytes. Its owner's lock guards it.

A client whose broker pushes messages keeps them here. An owner that can make its broker wait does so while `is_full`.
"""

from collections import deque

from eventkit.domain.message import Message, size_of
from eventkit.transports.base import MAX_BYTES

CAPACITY = 16_000_000  # bytes; a buffer with more is full
OVERHEAD = 500  # bytes counted for each message besides its value


class Buffer:
    """Messages in the order of their arrival."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.size = 0  # bytes
        self._capacity = capacity
        self._messages: deque[Message] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether the broker should pause."""
        return self.size > self._capacity

    def add(self, message: Message) -> None:
        self._messages.append(message)
        self.size += size_of(message) + OVERHEAD

    def take(self, limit: int) -> list[Message]:
        """Remove and return up to `limit` messages, of about `MAX_BYTES` at most."""
        messages = self._messages
        if self.size <= MAX_BYTES and len(messages) <= limit:
            self._messages, self.size = deque(), 0
            return list(messages)
        found: list[Message] = []
        size = 0
        while messages and len(found) < limit and size < MAX_BYTES:
            found.append(messages.popleft())
            size += size_of(found[-1]) + OVERHEAD
        self.size -= size
        return found

    def drop(self, topic: str, shard: int) -> None:
        """Drop the messages of a shard."""
        kept = [each for each in self._messages if each.topic != topic or each.tag.shard != shard]
        self._messages = deque(kept)
        self.size = sum(size_of(each) + OVERHEAD for each in kept)
