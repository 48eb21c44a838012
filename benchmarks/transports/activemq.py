"""stomp.py: persistent messages in transactions, a receipt for each, several under way; acknowledged many at a time."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import msgspec
import stomp

from benchmarks.transports.contestant import DEADLINE, SHARDS, Place
from eventkit.domain.message import Message
from eventkit.transports.activemq.publisher import HEADERS, KEY
from eventkit.transports.activemq.registry import queue_of, topic_of
from eventkit.transports.partition import partition_of

_BATCH = 500  # messages in a transaction
_MANY = 50  # messages of a shard that one acknowledgement is for: the broker looks for more when it gets one
_UNDER_WAY = 4  # transactions
_PREFETCH = "1000"


class Client(stomp.ConnectionListener):  # type: ignore[misc]  # no types
    """See `Contestant`."""

    def __init__(self, place: Place) -> None:
        """Connect."""
        self._topic = place.topic
        self._topics = [topic_of(place.topic, shard) for shard in range(SHARDS)]
        self._of: dict[str, str] = {}
        self._transaction = 0
        self._answered = threading.Semaphore(0)
        self._arrived: Callable[[Any], None] = lambda _: None
        parts = urlsplit(place.url)
        self._client = stomp.Connection12([(parts.hostname, parts.port)], auto_decode=False)
        self._client.set_listener("bench", self)
        self._client.connect(wait=True)

    def publish(self, messages: Sequence[Message]) -> None:
        """Send transactions, a few ahead of their receipts."""
        under_way = 0
        for start in range(0, len(messages), _BATCH):
            if under_way == _UNDER_WAY:
                self._wait()
                under_way -= 1
            self._send(messages[start : start + _BATCH])
            under_way += 1
        for _ in range(under_way):
            self._wait()

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:  # noqa: ARG002 its connection goes with the process
        """Take all shards; an acknowledgement covers the earlier messages of its shard."""
        done, taken = threading.Event(), [0] * SHARDS

        def arrived(frame: Any) -> None:  # noqa: ANN401 stomp.py has no types
            if not any(taken):
                began()
            shard = int(frame.headers["subscription"])
            frame.headers[KEY], frame.headers[HEADERS]
            taken[shard] += 1
            if not taken[shard] % _MANY:
                self._client.ack(frame.headers["ack"])
            elif sum(taken) == count:
                self._client.ack(frame.headers["ack"])
                done.set()

        self._arrived = arrived
        for shard in range(SHARDS):
            headers = {"activemq.prefetchSize": _PREFETCH}
            self._client.subscribe(queue_of(self._topic, shard, self._topic), str(shard), "client", headers)
        if not done.wait(DEADLINE):
            raise TimeoutError(f"{sum(taken)} of {count} messages came")

    def on_message(self, frame: Any) -> None:  # noqa: ANN401
        """Take a message."""
        self._arrived(frame)

    def on_receipt(self, _: Any) -> None:  # noqa: ANN401
        """Take a receipt: they come in order."""
        self._answered.release()

    def _wait(self) -> None:
        if not self._answered.acquire(timeout=DEADLINE):
            raise TimeoutError(f"no receipt in {DEADLINE:g} s")

    def _send(self, messages: Sequence[Message]) -> None:
        self._transaction += 1
        transaction = str(self._transaction)
        self._client.send_frame("BEGIN", {"transaction": transaction})
        for message in messages:
            value = message.value.encode() if isinstance(message.value, str) else message.value
            headers = {
                "destination": self._destination(message.key),
                "transaction": transaction,
                "persistent": "true",
                "content-length": str(len(value)),
                KEY: message.key,
                HEADERS: _encode(dict(message.headers)).decode(),
            }
            self._client.send_frame("SEND", headers, value)
        self._client.send_frame("COMMIT", {"transaction": transaction, "receipt": transaction})

    def _destination(self, key: str) -> str:
        topic = self._of.get(key)
        if topic is None:
            topic = self._of[key] = self._topics[partition_of(key, SHARDS)]
        return topic


_encode = msgspec.json.Encoder().encode
