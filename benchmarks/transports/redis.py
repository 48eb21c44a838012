"""redis-py: pipelines of XADD, and XREADGROUP of all shards with the XACK of the earlier entries in one round trip."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
from redis import Redis

from benchmarks.transports.contestant import SHARDS, Place
from eventkit.domain.message import Message
from eventkit.transports.partition import partition_of
from eventkit.transports.redis.topics import CONSUMER, stream_key

_BATCH = 1_000  # commands in a pipeline, and entries of a shard in a reply


class Client:
    """See `Contestant`."""

    def __init__(self, place: Place) -> None:
        """Connect at the first command."""
        self._client = Redis.from_url(place.url)
        self._topic = place.topic
        self._streams = [stream_key(place.topic, shard) for shard in range(SHARDS)]
        self._of: dict[str, str] = {}

    def publish(self, messages: Sequence[Message]) -> None:
        """Add by pipelines, in transactions: the server syncs its file once for each."""
        for start in range(0, len(messages), _BATCH):
            pipeline = self._client.pipeline(transaction=True)
            for message in messages[start : start + _BATCH]:
                pipeline.execute_command(  # type: ignore[no-untyped-call]
                    "XADD", self._stream(message.key), "*",
                    "key", message.key, "value", message.value, "headers", _encode(dict(message.headers)),
                )  # fmt: skip
            pipeline.execute()

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:  # noqa: ARG002 its connection goes with the process
        """Read by turns of all shards."""
        done: list[tuple[Any, list[bytes]]] = []
        left = count
        while left > 0 or done:
            pipeline = self._client.pipeline(transaction=False)
            for stream, entries in done:
                pipeline.xack(stream, *entries)
            pipeline.xreadgroup(self._topic, CONSUMER, dict.fromkeys(self._streams, ">"), count=_BATCH)
            found: Any = pipeline.execute()[-1]
            if found and left == count:
                began()
            done = [(stream, [entry for entry, _ in entries]) for stream, entries in found]
            left -= sum(len(entries) for _, entries in done)

    def _stream(self, key: str) -> str:
        stream = self._of.get(key)
        if stream is None:
            stream = self._of[key] = self._streams[partition_of(key, SHARDS)]
        return stream


_encode = msgspec.json.Encoder().encode
