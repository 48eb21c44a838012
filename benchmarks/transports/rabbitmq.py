"""pika: its connection without blocking, confirms pipelined, to the same quorum queues; acknowledged many at a time."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import takewhile
from typing import Any

import pika

from benchmarks.transports.contestant import SHARDS, Place
from eventkit.domain.message import Message
from eventkit.transports.partition import partition_of
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.topology import KEY, exchange_of, queue_of

_WINDOW = 5_000  # messages in flight
_PREFETCH = 1_000
_MANY = 500  # messages that one acknowledgement is for


class Client:
    """See `Contestant`: everything happens in the connection's loop, which runs until the work is done."""

    def __init__(self, place: Place) -> None:
        """Connect."""
        self._topic = place.topic
        self._exchanges = [exchange_of(place.topic, shard) for shard in range(SHARDS)]
        self._of: dict[str, str] = {}
        self._messages: Sequence[Message] = ()
        self._channel: Any = None
        self._sent = 0  # in this call
        self._number = 0  # the last delivery tag
        self._flying: dict[int, None] = {}  # delivery tags, in order
        self._connection = pika.SelectConnection(RabbitAddress(place.url, {}).parameters(), self._opened)
        self._connection.ioloop.start()

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish with a window."""
        self._messages, self._sent = messages, 0
        self._connection.ioloop.add_callback_threadsafe(self._pump)
        self._connection.ioloop.start()

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:  # noqa: ARG002 its connection goes with the process
        """Take all shards on one channel."""
        taken = 0

        def arrived(channel: Any, method: Any, properties: Any, _: bytes) -> None:  # noqa: ANN401 pika has no types
            nonlocal taken
            if not taken:
                began()
            taken += 1
            properties.headers[KEY]
            if not taken % _MANY or taken == count:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if taken == count:
                self._connection.ioloop.stop()

        self._channel.basic_qos(prefetch_count=_PREFETCH)
        for shard in range(SHARDS):
            self._channel.basic_consume(queue_of(self._topic, shard, self._topic), arrived)
        self._connection.ioloop.start()

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:  # noqa: ANN401
        self._channel = channel
        channel.confirm_delivery(self._answered, callback=lambda _: self._connection.ioloop.stop())

    def _pump(self) -> None:
        while self._sent < len(self._messages) and len(self._flying) < _WINDOW:
            message = self._messages[self._sent]
            headers = {KEY: message.key, **dict(message.headers)}
            properties = pika.BasicProperties(headers=headers, delivery_mode=2)
            self._channel.basic_publish(self._exchange(message.key), "", _bytes(message.value), properties)
            self._sent += 1
            self._number += 1
            self._flying[self._number] = None

    def _answered(self, frame: Any) -> None:  # noqa: ANN401
        last = frame.method.delivery_tag
        for tag in list(takewhile(last.__ge__, self._flying)) if frame.method.multiple else [last]:
            del self._flying[tag]
        if not self._flying and self._sent == len(self._messages):
            self._connection.ioloop.stop()
        self._pump()

    def _exchange(self, key: str) -> str:
        exchange = self._of.get(key)
        if exchange is None:
            exchange = self._of[key] = self._exchanges[partition_of(key, SHARDS)]
        return exchange


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
