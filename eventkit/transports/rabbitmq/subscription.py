"""One member of a group: it consumes from every shard's queue, and the broker lets one member a queue have messages.

The first member to come is active everywhere, so members share by letting go: one that is active in more queues than
its part gives up the rest, within `receive`, by closing the channel of each. The broker then returns what was not
acknowledged to the head of the queue, in order, and makes the next member active.
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
from eventkit.transports.base import Mark
from eventkit.transports.buffer import Buffer
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.loop import Loop
from eventkit.transports.rabbitmq.topology import members_of, queue_of
from eventkit.transports.rabbitmq.wire import message_of

logger = logging.getLogger("eventkit.rabbitmq")

Shard = tuple[str, int]

_LOOK = 0.5  # seconds between two looks at how many members there are
_FORGOTTEN = 86_400_000  # milliseconds after which a queue of members is deleted that a crash has left without any


class RabbitDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    turn: int  # which channel of the shard: what came on an earlier one is not ours any more
    delivery: int


class RabbitShardQueue(msgspec.Struct):
    """A shard's queue, as this member consumes from it."""

    turn: int = 0
    channel: Any = None
    consumes: bool = False  # the broker has confirmed it, once
    active: bool = False  # it has had a message on this channel
    open: "OrderedDict[int, str]" = msgspec.field(default_factory=OrderedDict)  # delivered, unacknowledged: tag -> key


class RabbitSubscription:
    """See `Subscription`."""

    def __init__(self, address: RabbitAddress, shards: Mapping[str, int], group: str, *, is_new: bool) -> None:
        self.is_new = is_new
        self._group = group
        self._prefetch = address.prefetch
        self._lanes = {(topic, shard): RabbitShardQueue() for topic, count in shards.items() for shard in range(count)}
        self._arrived = Buffer()
        self._telling = False
        self._members = 1
        self._looked = time.monotonic()
        self._end: str | None = None
        self._connection: Any = None
        self._register: Any = None  # the channel on which members are counted
        self._changed = threading.Condition()  # over all of the above
        self._loop = Loop(address, opened=self._opened, ended=self._ended)

    @property
    def ready(self) -> bool:
        """Whether the broker knows this member as a consumer of every shard's queue."""
        return all(lane.consumes for lane in self._lanes.values())

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        self._look_around()
        with self._changed:
            self._let_go()
            self._changed.wait_for(lambda: self._arrived or self._end, timeout)
            if self._end and not self._arrived:
                raise TransportUnavailable(self._end)
            return self._arrived.take(limit)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these and the earlier ones of their keys."""
        with self._changed:
            last: dict[Shard, dict[str, int]] = {}
            for message in messages:
                shard = message.topic, message.tag.shard
                if message.tag.turn == self._lanes[shard].turn:
                    last.setdefault(shard, {})[message.key] = message.tag.delivery
            for shard, keys in last.items():
                self._settle(self._lanes[shard], keys)

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none."""
        del messages
        return []

    def close(self) -> None:
        """Leave the group."""
        self._loop.call(self._leave)
        self._loop.close()

    def _settle(self, lane: RabbitShardQueue, keys: Mapping[str, int]) -> None:
        done = [tag for tag, key in lane.open.items() if tag <= keys.get(key, 0)]
        upto = 0
        for tag in done:
            if next(iter(lane.open)) == tag:
                upto = tag
            del lane.open[tag]
        channel, others = lane.channel, [tag for tag in done if tag > upto]

        def answer() -> None:
            if channel.is_open:
                if upto:
                    channel.basic_ack(upto, multiple=True)
                for tag in others:
                    channel.basic_ack(tag)

        self._loop.call(answer)

    def _let_go(self) -> None:
        """Give up the queues beyond our part."""
        active = [shard for shard, lane in self._lanes.items() if lane.active]
        part = -(-len(self._lanes) // self._members)
        for shard in active[part:]:
            lane = self._lanes[shard]
            channel, lane.channel = lane.channel, None
            lane.turn += 1
            lane.active = False
            lane.open.clear()
            self._arrived.drop(*shard)
            self._loop.call(partial(self._reopen, channel, shard))

    def _look_around(self) -> None:
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._loop.call(self._count_members)

    # --- on the connection's thread

    def _opened(self, connection: pika.SelectConnection) -> None:
        self._connection = connection
        connection.channel(on_open_callback=self._sign_on)
        for shard in self._lanes:
            self._open(shard)

    def _open(self, shard: Shard) -> None:
        turn = self._lanes[shard].turn
        self._connection.channel(on_open_callback=lambda channel: self._consume(channel, shard, turn))

    def _reopen(self, channel: Any, shard: Shard) -> None:  # noqa: ANN401 pika has no types for it
        if channel is not None and channel.is_open:
            channel.add_on_close_callback(lambda *_: self._open(shard))
            _close(channel)

    def _leave(self) -> None:
        for lane in self._lanes.values():
            if lane.channel is not None and lane.channel.is_open:
                _close(lane.channel)

    def _consume(self, channel: Any, shard: Shard, turn: int) -> None:  # noqa: ANN401
        lane = self._lanes[shard]
        with self._changed:
            lane.channel = channel
        channel.add_on_close_callback(lambda _, reason: self._channel_closed(shard, turn, reason))
        channel.add_on_cancel_callback(lambda _: self._ended(f"the queue of {shard[0]} was deleted"))
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(
            queue_of(*shard, self._group),
            callback=lambda _: self._consumes(lane),
            on_message_callback=lambda _, method, properties, body: self._arrive(shard, turn, method, properties, body),
        )

    def _consumes(self, lane: RabbitShardQueue) -> None:
        with self._changed:
            lane.consumes = True

    def _arrive(self, shard: Shard, turn: int, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401
        place = RabbitDelivery(shard[1], turn, method.delivery_tag)
        message = message_of(shard[0], properties, body, place)
        with self._changed:
            lane = self._lanes[shard]
            if lane.turn == turn:
                lane.active = True
                lane.open[method.delivery_tag] = message.key
                self._arrived.add(message)
                if not self._telling:  # once for all that comes with it: waking a thread costs more than a message
                    self._telling = True
                    self._connection.ioloop.add_callback_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._changed:
            self._telling = False
            self._changed.notify_all()

    def _sign_on(self, channel: Any) -> None:  # noqa: ANN401
        """Be counted: a queue tells only its active consumer where there is a single one.

        The queue is durable though nothing is ever in it: RabbitMQ gives up those that are neither durable nor
        exclusive. It goes with its last consumer.
        """
        self._register = channel
        name = members_of(self._group)
        channel.add_on_close_callback(lambda _, reason: self._not_counted(reason))
        channel.queue_declare(
            name,
            durable=True,
            auto_delete=True,
            arguments={"x-expires": _FORGOTTEN},
            callback=lambda _: channel.basic_consume(name, _ignore, callback=lambda _: self._count_members()),
        )

    def _not_counted(self, reason: Any) -> None:  # noqa: ANN401 pika's errors and others
        if isinstance(reason, ChannelClosedByBroker):
            logger.warning("the members of group %s are not counted, so one may have all: %s", self._group, reason)

    def _count_members(self) -> None:
        if self._register is not None and self._register.is_open:
            self._register.queue_declare(members_of(self._group), passive=True, callback=self._counted)

    def _counted(self, frame: Any) -> None:  # noqa: ANN401
        with self._changed:
            self._members = max(1, frame.method.consumer_count)

    def _channel_closed(self, shard: Shard, turn: int, reason: Any) -> None:  # noqa: ANN401
        if self._lanes[shard].turn == turn:
            self._ended(f"RabbitMQ closed the channel of {shard[0]}: {getattr(reason, 'reply_text', reason)}")

    def _ended(self, reason: str) -> None:
        with self._changed:
            self._end = self._end or reason
            self._changed.notify_all()


def _close(channel: Any) -> None:  # noqa: ANN401
    """Close a channel with its consumers.

    pika would cancel them first, and the broker then give the next member what comes after our unacknowledged messages,
    and these only when the channel is closed.
    """
    channel._consumers.clear()  # noqa: SLF001 close() cancels what is in here
    channel.close()


def _ignore(*_: object) -> None:
    """Nothing is sent there."""
