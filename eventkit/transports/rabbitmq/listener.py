"""A reader without a group: an exclusive queue, bound to every shard of the topics and deleted with its connection.

Received messages are acknowledged after each half of the prefetch, so that the broker sends no more than the prefetch
ahead of a slow reader. Acknowledging each one would keep the connection's thread from delivering. The prefetch is
small, because the broker counts messages and not bytes.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pika

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.loop import Loop
from eventkit.transports.rabbitmq.topology import exchange_of
from eventkit.transports.rabbitmq.wire import message_of

_MAX_PREFETCH = 64  # messages: 58 MB of the largest
_START_TIMEOUT = 10.0  # seconds until the broker has confirmed the consumer


class RabbitListener:
    """See `Transport.listen`."""

    is_new = False
    ready = True

    def __init__(self, address: RabbitAddress, shards: Mapping[str, int]) -> None:
        self._exchanges = [exchange_of(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._prefetch = min(address.prefetch, _MAX_PREFETCH)
        self._arrived: deque[Message] = deque()
        self._acknowledged = 0  # the last acknowledged delivery
        self._channel: Any = None  # set when the broker has confirmed the consumer
        self._end: str | None = None
        self._changed = threading.Condition()  # guards all of the above
        self._loop = Loop(address, opened=self._opened, ended=self._ended)
        self._wait_for_start(address.hosts)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._end, timeout)
            if self._end and not self._arrived:
                raise TransportUnavailable(self._end)
            found = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        if found and found[-1].tag - self._acknowledged >= self._prefetch / 2:
            self._acknowledged = found[-1].tag
            self._loop.call(partial(self._send_ack, self._acknowledged))
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: no other reader resumes here."""

    def close(self) -> None:
        """Close the connection, which deletes the queue."""
        self._loop.close()

    def _wait_for_start(self, hosts: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._channel or self._end, _START_TIMEOUT)
        if self._end or self._channel is None:
            self._loop.close()
            raise TransportUnavailable(self._end or f"no answer from RabbitMQ at {hosts} in {_START_TIMEOUT:g} s")

    # --- on the connection's thread

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._declare)

    def _declare(self, channel: Any) -> None:  # noqa: ANN401 pika has no types for it
        channel.add_on_close_callback(lambda _, reason: self._ended(str(getattr(reason, "reply_text", reason))))
        channel.queue_declare("", exclusive=True, callback=lambda frame: self._consume(channel, frame.method.queue))

    def _consume(self, channel: Any, queue: str) -> None:  # noqa: ANN401
        for exchange in self._exchanges:
            channel.queue_bind(queue, exchange)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(
            queue,
            self._arrive,
            callback=lambda _: self._started(channel),  # the broker answers it after the binds
        )

    def _started(self, channel: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._channel = channel
            self._changed.notify_all()

    def _arrive(self, _: Any, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401
        message = message_of(method.exchange.rpartition(".")[0], properties, body, method.delivery_tag)
        with self._changed:
            self._arrived.append(message)
            self._changed.notify_all()

    def _send_ack(self, delivery: int) -> None:
        if self._channel.is_open:
            self._channel.basic_ack(delivery, multiple=True)

    def _ended(self, reason: str) -> None:
        with self._changed:
            self._end = self._end or reason
            self._changed.notify_all()
