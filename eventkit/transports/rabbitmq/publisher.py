"""Publishes in order: one channel, many messages in flight, each confirmed by the broker once a quorum has it on disk.

The first message to a shard is sent alone, and the others follow after its confirm. Without a bound queue the broker
returns each message by itself, so a queue bound in between would get a later message without the earlier ones. After
the first failure nothing more is sent.
"""

import re
import threading
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pika
from pika.spec import Basic

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError
from eventkit.transports.base import Reports
from eventkit.transports.partition import partition_of
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.loop import Loop
from eventkit.transports.rabbitmq.topology import MISSING, NOT_FOUND, REFUSED, Topology, exchange_of
from eventkit.transports.rabbitmq.wire import properties_of

_WINDOW = 2_000  # messages in flight
_MAX_WAITING = 20_000  # messages queued behind the window
_NO_QUEUE = (
    "no group has subscribed to it, and RabbitMQ drops messages without a queue: "
    "start a projector, or create its queues"
)
_TOO_LARGE = re.compile(r"message size (\d+) is larger than configured max size (\d+)")
_NO_EXCHANGE = re.compile(r"no exchange '(.+)\.\d+'")


class RabbitPublisher:
    """See `Publisher`."""

    def __init__(self, address: RabbitAddress, topology: Topology, *, to_listeners: bool = False) -> None:
        self._topology = topology
        self._mandatory = not to_listeners
        self._shards: dict[str, int] = {}
        self._exchanges: dict[tuple[str, str], str] = {}
        self._waiting: deque[tuple[str, Message]] = deque()
        self._flying: dict[int, tuple[str, Message]] = {}  # by delivery tag, in order
        self._number = 0  # the last delivery tag
        self._warm: set[str] = set()
        self._probing: str | None = None
        self._results = Reports()
        self._channel: Any = None
        self._changed = threading.Condition()  # guards all of the above
        self._closing = False
        self._loop = Loop(address, opened=self._opened, ended=self._ended)

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages; wait while too many are queued."""
        for message in messages:
            exchange = self._exchange(message)
            with self._changed:
                self._changed.wait_for(lambda: len(self._waiting) < _MAX_WAITING or self._results.failed)
                if exchange is None or self._results.failed:
                    break
                self._waiting.append((exchange, message))
            if len(self._waiting) == _MAX_WAITING:
                self._loop.call(self._pump)
        self._loop.call(self._pump)

    def reports(self, timeout: float) -> Reports:
        """Return the results since the last call; wait up to `timeout` seconds for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._results.confirmed or self._results.failed, timeout)
            results, self._results = self._results, self._results.failures()
            return results

    def abandon(self) -> Reports:
        """Send nothing more, close and return the last results."""
        with self._changed:
            self._waiting.clear()
            self._results.lost = self._results.lost or "abandoned"
        self._loop.close()
        return self.reports(0)

    def close(self, timeout: float) -> Reports:
        """Wait for the messages in flight, then close."""
        with self._changed:
            self._changed.wait_for(lambda: self._results.failed or not (self._waiting or self._flying), timeout)
            self._closing = True
        self._loop.close()
        return self.reports(0)

    def _exchange(self, message: Message) -> str | None:
        place = message.topic, message.key
        exchange = self._exchanges.get(place)
        if exchange is None and self._knows(message.topic):
            shard = partition_of(message.key, self._shards[message.topic])
            exchange = self._exchanges[place] = exchange_of(message.topic, shard)
        return exchange

    def _knows(self, topic: str) -> bool:
        try:
            if topic not in self._shards:
                self._shards |= self._topology.require([topic])
        except TopicUnusable as error:
            self._fail(held=error.reasons)
        except TransportError as error:
            self._fail(lost=str(error))
        return topic in self._shards

    def _fail(self, *, held: dict[str, str] | None = None, lost: str | None = None) -> None:
        with self._changed:
            self._results.held.update(held or {})
            self._results.lost = self._results.lost or lost
            self._waiting.clear()
            self._changed.notify_all()

    # --- on the connection's thread

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:  # noqa: ANN401 pika has no types for it
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._answered, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._channel = channel
        self._pump()

    def _pump(self) -> None:
        with self._changed:
            while self._waiting and self._may_publish(self._waiting[0][0]):
                exchange, message = self._waiting.popleft()
                self._number += 1
                self._flying[self._number] = exchange, message
                self._publish(exchange, message)
            self._changed.notify_all()

    def _may_publish(self, exchange: str) -> bool:
        if self._channel is None or self._results.failed or self._probing or len(self._flying) >= _WINDOW:
            return False
        if exchange not in self._warm:
            self._probing = exchange
        return True

    def _publish(self, exchange: str, message: Message) -> None:
        value = message.value.encode() if isinstance(message.value, str) else message.value
        self._channel.basic_publish(exchange, "", value, properties_of(message), mandatory=self._mandatory)

    def _answered(self, frame: Any) -> None:  # noqa: ANN401
        answer = frame.method
        with self._changed:
            settled = self._settled(answer)
            if not isinstance(answer, Basic.Ack):
                self._results.lost = self._results.lost or "RabbitMQ refused a message (basic.nack)"
            else:
                self._results.confirmed += [
                    message.tag for _, message in settled if message.topic not in self._results.held
                ]
                self._warm.update(exchange for exchange, _ in settled)
            if self._probing in {exchange for exchange, _ in settled}:
                self._probing = None
            self._changed.notify_all()
        self._pump()

    def _settled(self, answer: Any) -> list[tuple[str, Message]]:  # noqa: ANN401
        last = answer.delivery_tag
        tags = list(takewhile(lambda tag: tag <= last, self._flying)) if answer.multiple else [last]
        return [self._flying.pop(tag) for tag in tags if tag in self._flying]

    def _returned(self, _channel: Any, method: Any, _properties: Any, _body: bytes) -> None:  # noqa: ANN401
        self._fail(held={method.exchange.rpartition(".")[0]: _NO_QUEUE})  # its ack comes after this

    def _channel_closed(self, _channel: Any, reason: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._channel = None
            if not self._closing:
                self._classify(getattr(reason, "reply_code", 0), str(getattr(reason, "reply_text", reason)))
            self._waiting.clear()
            self._changed.notify_all()

    def _classify(self, code: int, text: str) -> None:
        large, missing = _TOO_LARGE.search(text), _NO_EXCHANGE.search(text)
        refused = self._first_of_size(int(large[1])) if large else None
        if large and refused is not None:
            self._results.refused[refused] = f"{int(large[1]):,} bytes are more than RabbitMQ takes: {int(large[2]):,}"
        elif code == NOT_FOUND and missing:
            self._results.held[missing[1]] = MISSING
        elif code == REFUSED:
            topics = {message.topic for _, message in self._flying.values()}
            self._results.held.update(
                dict.fromkeys(topics, f"this user may not write to it: {text}; grant it the write permission")
            )
        else:
            self._results.lost = self._results.lost or text

    def _first_of_size(self, size: int) -> int | None:
        sized = (message for _, message in self._flying.values() if _size(message) == size)
        return next((message.tag for message in sized), None)

    def _ended(self, reason: str) -> None:
        if not self._closing:
            self._fail(lost=reason)


def _size(message: Message) -> int:
    return len(message.value.encode() if isinstance(message.value, str) else message.value)
