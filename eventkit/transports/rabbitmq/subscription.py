"""One member of a group: it consumes from every shard's queue, and the broker delivers each queue to one active member.

The first member is active in every queue. A member that is active in more queues than its share releases the others
within `receive`, by closing the channel of each. The broker then returns the unacknowledged messages to the head of the
queue, in order, and makes the next member active.

The broker limits the messages sent ahead by number (`prefetch`), and the member limits them by bytes: with a full
buffer it reads no more from its connection.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pika
from pika.exceptions import ChannelClosedByBroker

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.buffer import Buffer
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.loop import Loop
from eventkit.transports.rabbitmq.topology import members_of, queue_of
from eventkit.transports.rabbitmq.wire import message_of

logger = logging.getLogger("eventkit.rabbitmq")

Shard = tuple[str, int]

_COUNT_INTERVAL = 0.5  # seconds between two counts of the members
_MEMBERS_EXPIRY = 86_400_000  # milliseconds until a members queue without consumers is deleted, as after a crash


class RabbitDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    turn: int  # number of the shard's channel: messages of an earlier channel belong to another member
    delivery: int


class RabbitShardQueue(msgspec.Struct):
    """One member's consumer of a shard's queue."""

    turn: int = 0
    channel: Any = None
    consumes: bool = False  # the broker has confirmed the consumer
    active: bool = False  # a message has arrived on this channel
    open: "OrderedDict[int, str]" = msgspec.field(default_factory=OrderedDict)  # delivered, unacknowledged: tag -> key


class RabbitSubscription:
    """See `Subscription`."""

    def __init__(self, address: RabbitAddress, shards: Mapping[str, int], group: str, *, is_new: bool) -> None:
        self.is_new = is_new
        self._group = group
        self._prefetch = address.prefetch
        self._queues = {(topic, shard): RabbitShardQueue() for topic, count in shards.items() for shard in range(count)}
        self._arrived = Buffer()
        self._is_paused = False  # changed on the connection's thread alone
        self._notifying = False
        self._members = 1
        self._counted_at = time.monotonic()
        self._end: str | None = None
        self._connection: Any = None
        self._register: Any = None  # the channel that counts the members
        self._changed = threading.Condition()  # guards all of the above
        self._loop = Loop(address, opened=self._opened, ended=self._ended)

    @property
    def ready(self) -> bool:
        """Whether the broker knows this member as a consumer of every shard's queue."""
        return all(queue.consumes for queue in self._queues.values())

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        self._count_when_due()
        with self._changed:
            self._release_excess()
            self._changed.wait_for(lambda: self._arrived or self._end, timeout)
            if self._end and not self._arrived:
                raise TransportUnavailable(self._end)
            found = self._arrived.take(limit)
            self._resume_when_possible()
            return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these and the earlier ones of their keys."""
        with self._changed:
            last: dict[Shard, dict[str, int]] = {}
            for message in messages:
                shard = message.topic, message.tag.shard
                if message.tag.turn == self._queues[shard].turn:
                    last.setdefault(shard, {})[message.key] = message.tag.delivery
            for shard, keys in last.items():
                self._settle(self._queues[shard], keys)

    def close(self) -> None:
        """Leave the group."""
        self._loop.call(self._leave)
        self._loop.close()

    def _settle(self, queue: RabbitShardQueue, keys: Mapping[str, int]) -> None:
        done = [tag for tag, key in queue.open.items() if tag <= keys.get(key, 0)]
        upto = 0
        for tag in done:
            if next(iter(queue.open)) == tag:
                upto = tag
            del queue.open[tag]
        channel, others = queue.channel, [tag for tag in done if tag > upto]

        def answer() -> None:
            if channel.is_open:
                if upto:
                    channel.basic_ack(upto, multiple=True)
                for tag in others:
                    channel.basic_ack(tag)

        self._loop.call(answer)

    def _release_excess(self) -> None:
        """Release the queues beyond this member's share."""
        active = [shard for shard, queue in self._queues.items() if queue.active]
        share = -(-len(self._queues) // self._members)
        for shard in active[share:]:
            queue = self._queues[shard]
            channel, queue.channel = queue.channel, None
            queue.turn += 1
            queue.active = False
            queue.open.clear()
            self._arrived.drop(*shard)
            self._resume_when_possible()
            self._loop.call(partial(self._reopen, channel, shard))

    def _resume_when_possible(self) -> None:
        if self._is_paused and not self._arrived.is_full:
            self._loop.call(self._resume)

    def _count_when_due(self) -> None:
        if time.monotonic() - self._counted_at > _COUNT_INTERVAL:
            self._counted_at = time.monotonic()
            self._loop.call(self._count_members)

    # --- on the connection's thread

    def _opened(self, connection: pika.SelectConnection) -> None:
        self._connection = connection
        connection.channel(on_open_callback=self._register_member)
        for shard in self._queues:
            self._open(shard)

    def _open(self, shard: Shard) -> None:
        turn = self._queues[shard].turn
        self._connection.channel(on_open_callback=lambda channel: self._consume(channel, shard, turn))

    def _reopen(self, channel: Any, shard: Shard) -> None:  # noqa: ANN401 pika has no types for it
        if channel is not None and channel.is_open:
            channel.add_on_close_callback(lambda *_: self._open(shard))
            _close(channel)

    def _resume(self) -> None:
        with self._changed:
            self._is_paused = self._is_paused and self._arrived.is_full
            if not self._is_paused:
                self._connection.resume_reading()

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()  # the broker's answers come after its messages
        for queue in self._queues.values():
            if queue.channel is not None and queue.channel.is_open:
                _close(queue.channel)

    def _consume(self, channel: Any, shard: Shard, turn: int) -> None:  # noqa: ANN401
        queue = self._queues[shard]
        with self._changed:
            queue.channel = channel
        channel.add_on_close_callback(lambda _, reason: self._channel_closed(shard, turn, reason))
        channel.add_on_cancel_callback(lambda _: self._ended(f"the queue of {shard[0]} was deleted"))
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(
            queue_of(*shard, self._group),
            callback=lambda _: self._consumes(queue),
            on_message_callback=lambda _, method, properties, body: self._arrive(shard, turn, method, properties, body),
        )

    def _consumes(self, queue: RabbitShardQueue) -> None:
        with self._changed:
            queue.consumes = True

    def _arrive(self, shard: Shard, turn: int, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401
        place = RabbitDelivery(shard[1], turn, method.delivery_tag)
        message = message_of(shard[0], properties, body, place)
        with self._changed:
            queue = self._queues[shard]
            if queue.turn == turn:
                queue.active = True
                queue.open[method.delivery_tag] = message.key
                self._arrived.add(message)
                if self._arrived.is_full and not self._is_paused:
                    self._is_paused = True
                    self._connection.pause_reading()
                if not self._notifying:  # once for a burst of messages: waking a thread costs more than a message
                    self._notifying = True
                    self._connection.ioloop.add_callback_threadsafe(self._notify)

    def _notify(self) -> None:
        with self._changed:
            self._notifying = False
            self._changed.notify_all()

    def _register_member(self, channel: Any) -> None:  # noqa: ANN401
        """Consume from the members queue, whose consumers are counted: a shard's queue counts its active one alone.

        The queue is durable although it stays empty: RabbitMQ drops support for queues that are neither durable nor
        exclusive. It is deleted with its last consumer.
        """
        self._register = channel
        name = members_of(self._group)
        channel.add_on_close_callback(lambda _, reason: self._not_counted(reason))
        channel.queue_declare(
            name,
            durable=True,
            auto_delete=True,
            arguments={"x-expires": _MEMBERS_EXPIRY},
            callback=lambda _: channel.basic_consume(name, _ignore, callback=lambda _: self._count_members()),
        )

    def _not_counted(self, reason: Any) -> None:  # noqa: ANN401 pika's errors and others
        if isinstance(reason, ChannelClosedByBroker):
            logger.warning(
                "the members of group %s cannot be counted, so one member may have all queues: %s", self._group, reason
            )

    def _count_members(self) -> None:
        if self._register is not None and self._register.is_open:
            self._register.queue_declare(members_of(self._group), passive=True, callback=self._counted)

    def _counted(self, frame: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._members = max(1, frame.method.consumer_count)

    def _channel_closed(self, shard: Shard, turn: int, reason: Any) -> None:  # noqa: ANN401
        if self._queues[shard].turn == turn:
            self._ended(f"RabbitMQ closed the channel of {shard[0]}: {getattr(reason, 'reply_text', reason)}")

    def _ended(self, reason: str) -> None:
        with self._changed:
            self._end = self._end or reason
            self._changed.notify_all()


def _close(channel: Any) -> None:  # noqa: ANN401
    """Close a channel without cancelling its consumers first, as pika would.

    After a cancel the broker gives the next member later messages, before the close returns the unacknowledged ones.
    """
    channel._consumers.clear()  # noqa: SLF001 close() cancels the consumers that are in here
    channel.close()


def _ignore(*_: object) -> None:
    """Do nothing: the members queue stays empty."""
