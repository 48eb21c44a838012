"""A reader of its own: an exclusive queue without a name, bound to every shard of the topics, gone with its connection.

What was received is acknowledged by halves of the prefetch, so that the broker sends no more than that ahead of a slow
reader: an acknowledgement of each would take the connection's thread from whoever waits for what has come. The prefetch
is small: the broker sends that many ahead, however large they are.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pika

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.base import Mark
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.loop import Loop
from eventkit.transports.rabbitmq.topology import exchange_of
from eventkit.transports.rabbitmq.wire import message_of

_MOST = 64  # messages that are sent ahead: 58 MB of the largest
_PATIENCE = 10.0  # seconds until it is live


class RabbitListener:
    """See `Transport.listen`."""

    is_new = False
    ready = True

    def __init__(self, address: RabbitAddress, shards: Mapping[str, int]) -> None:
        self._exchanges = [exchange_of(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._prefetch = min(address.prefetch, _MOST)
        self._arrived: deque[Message] = deque()
        self._taken = 0  # the last delivery that was acknowledged
        self._channel: Any = None  # from when it is live
        self._end: str | None = None
        self._changed = threading.Condition()  # over all of the above
        self._loop = Loop(address, opened=self._opened, ended=self._ended)
        self._await_life(address.hosts)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._end, timeout)
            if self._end and not self._arrived:
                raise TransportUnavailable(self._end)
            found = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        if found and found[-1].tag - self._taken >= self._prefetch / 2:
            self._taken = found[-1].tag
            self._loop.call(partial(self._take, self._taken))
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: nobody reads on from here."""

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none."""
        del messages
        return []

    def close(self) -> None:
        """Let go of the queue."""
        self._loop.close()

    def _await_life(self, hosts: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._channel or self._end, _PATIENCE)
        if self._end or self._channel is None:
            self._loop.close()
            raise TransportUnavailable(self._end or f"no answer from RabbitMQ at {hosts} in {_PATIENCE:g} s")

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
        channel.basic_consume(queue, self._arrive, callback=lambda _: self._live(channel))  # answered after the binds

    def _live(self, channel: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._channel = channel
            self._changed.notify_all()

    def _arrive(self, _: Any, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401
        message = message_of(method.exchange.rpartition(".")[0], properties, body, method.delivery_tag)
        with self._changed:
            self._arrived.append(message)
            self._changed.notify_all()

    def _take(self, delivery: int) -> None:
        if self._channel.is_open:
            self._channel.basic_ack(delivery, multiple=True)

    def _ended(self, reason: str) -> None:
        with self._changed:
            self._end = self._end or reason
            self._changed.notify_all()
