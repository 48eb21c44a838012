"""A reader without a group: XREAD from the end of each shard's stream; the server stores nothing for it.

A topic without a group, such as one of replies, is trimmed by its listeners alone.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from eventkit.domain.message import Message
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.subscription import MOST, message_of
from eventkit.transports.redis.topics import redis_errors, stream_key
from eventkit.transports.redis.trimming import Trimming

_LONGEST_WAIT = 5.0  # seconds of one XREAD: below the client's timeout for an answer


class RedisListener:
    """See `Transport.listen`."""

    is_new = False
    ready = True

    def __init__(self, address: RedisAddress, shards: Mapping[str, int]) -> None:
        self._address = address
        self._client = address.client()
        places = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._shards = {stream_key(*place).encode(): place for place in places}
        self._arrived: deque[Message] = deque()
        self._trimming = Trimming(self._client, address.retention)
        with redis_errors(address):
            self._last: dict[Any, Any] = {stream: self._end(stream) for stream in self._shards}

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        deadline = time.monotonic() + timeout
        with redis_errors(self._address):
            self._trimming.trim_when_due(list(self._shards.values()))
            while not self._arrived:
                left = deadline - time.monotonic()
                self._read(limit, min(left, _LONGEST_WAIT))
                if left <= 0:
                    break
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: no other reader resumes here."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _read(self, limit: int, seconds: float) -> None:
        block = max(1, int(seconds * 1000)) if seconds > 0 else None
        count = max(1, min(limit, MOST // len(self._last)))
        found: Any = self._client.xread(self._last, count=count, block=block)
        for stream, entries in found:  # up to `count` of each
            for entry, fields in entries:
                self._arrived.append(message_of(self._shards[stream], entry, fields))
                self._last[stream] = entry

    def _end(self, stream: bytes) -> bytes:
        info: Any = self._client.xinfo_stream(stream)
        last: bytes = info["last-generated-id"]
        return last
