"""Messages that have arrived and that nobody has taken yet, handed out by bytes. Its owner's lock guards it.

A client that is given messages by its broker, and does not ask for each, holds them here. An owner that can make its
broker wait does so while `is_full`.
"""

from collections import deque

from eventkit.domain.message import Message, size_of
from eventkit.transports.base import MAX_BYTES

ROOM = 16_000_000  # bytes from which on a buffer is full
OVERHEAD = 500  # bytes that a message counts beside its value


class Buffer:
    """What has arrived, in order."""

    def __init__(self, room: int = ROOM) -> None:
        """Start empty."""
        self.size = 0  # bytes
        self._room = room
        self._messages: deque[Message] = deque()

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should come for now."""
        return self.size > self._room

    def add(self, message: Message) -> None:
        """Add one at the end."""
        self._messages.append(message)
        self.size += size_of(message) + OVERHEAD

    def take(self, limit: int) -> list[Message]:
        """Return up to `limit` messages, and no more once they have `MAX_BYTES`."""
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
        """Drop those of a shard."""
        kept = [each for each in self._messages if each.topic != topic or each.tag.shard != shard]
        self._messages = deque(kept)
        self.size = sum(size_of(each) + OVERHEAD for each in kept)
