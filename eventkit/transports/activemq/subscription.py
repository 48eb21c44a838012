"""One member of a group: it subscribes to every shard's queue, and the broker lets one exclusive consumer have each.

The first member to come is the one everywhere, so members share by letting go: one that is active in more queues than
its part gives up the rest, within `receive`, by subscribing anew. Members hear of each other on a topic of the group.

The broker counts what it sends ahead, by number (`prefetch`). What a member holds is bounded by bytes: beyond them it
reads no more from its connection until some were taken.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.activemq.acknowledgements import Acknowledgements
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection, Frame
from eventkit.transports.activemq.publisher import HEADERS, KEY
from eventkit.transports.activemq.registry import queue_of
from eventkit.transports.base import Mark
from eventkit.transports.buffer import Buffer
from eventkit.transports.json_headers import headers_from_json
from eventkit.transports.progress import PartitionProgress
from eventkit.transports.received import unreadable

Shard = tuple[str, int]

_BEAT = 0.5  # seconds between two signs of life to the other members
_GOODBYE = 2.0  # seconds for what is still to be acknowledged
_SILENT = 3.0  # seconds after which a member is not counted any more
_MEMBERS = "members"  # the id of the subscription to the group's topic


class ActiveDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    turn: int  # which subscription to the shard: what came on an earlier one is not ours any more
    number: int  # on that subscription


class ActiveShardQueue(msgspec.Struct):
    """A shard's queue, as one subscription of this member consumes from it."""

    turn: int = 0
    progress: PartitionProgress = msgspec.field(default_factory=PartitionProgress)
    number: int = 0  # of the next delivery
    acks: deque[str] = msgspec.field(default_factory=deque)  # of what was delivered and not acknowledged, in order

    @property
    def active(self) -> bool:
        """Whether it has had a message."""
        return self.number > 0

    def delivered(self, ack: str, key: str) -> None:
        """Note a delivery."""
        self.progress.delivered(self.number, key)
        self.number += 1
        self.acks.append(ack)

    def covered(self) -> str | None:
        """Return the acknowledgement that covers all that is contiguous, None where there is nothing new."""
        if not self.progress.advance():
            return None
        ack = ""
        while len(self.acks) > self.number - (self.progress.resume or 0):
            ack = self.acks.popleft()
        return ack


class ActiveSubscription:
    """See `Subscription`."""

    def __init__(self, address: ActiveAddress, shards: Mapping[str, int], group: str, *, is_new: bool) -> None:
        self.is_new = is_new
        self._group = group
        self._prefetch = str(address.prefetch)
        self._me = uuid4().hex
        self._heard = {self._me: time.monotonic()}
        self._places = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._lanes = {shard: ActiveShardQueue() for shard in self._places}
        self._arrived = Buffer()
        self._closing = False
        self._beaten = 0.0
        self._changed = threading.Condition()  # over all of the above
        self._connection = Connection(address, arrived=self._arrive, answered=self._wake)
        self._acknowledging = Acknowledgements(self._connection)
        self._members = f"/topic/eventkit.members.{group}"
        self._connection.send("SUBSCRIBE", {"id": _MEMBERS, "destination": self._members, "ack": "auto"})
        self._beat()
        for shard in self._places:
            self._subscribe(shard)
        # The broker answers in order: it has heard of the subscriptions when it answers this.
        self._subscribed = self._connection.send("BEGIN", {"transaction": "subscribed"}, receipt=True)
        self._connection.send("ABORT", {"transaction": "subscribed"})

    @property
    def ready(self) -> bool:
        """Whether the broker knows this member as a consumer of every shard's queue."""
        return self._connection.missing([self._subscribed]) is None

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        self._beat()
        deadline = time.monotonic() + timeout
        while True:
            self._acknowledging.go_on()
            with self._changed:
                if self._acknowledging.is_clear:  # what is given up is not ours to acknowledge any more
                    self._let_go()
                self._changed.wait_for(self._has_news, max(0.0, min(deadline - time.monotonic(), _BEAT)))
                if self._connection.end and not self._arrived:
                    raise TransportUnavailable(self._connection.end)
                if self._arrived or time.monotonic() >= deadline:
                    self._changed.notify_all()  # there is room again
                    return self._arrived.take(limit)

    def _has_news(self) -> bool:
        return bool(self._arrived or self._connection.end or self._acknowledging.may_go_on)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these and the earlier ones of their keys."""
        with self._changed:
            touched: dict[Shard, ActiveShardQueue] = {}
            for message in messages:
                shard = message.topic, message.tag.shard
                lane = self._lanes[shard]
                if message.tag.turn == lane.turn:
                    lane.progress.acknowledge(message.tag.number, message.key)
                    touched[shard] = lane
            done = [ack for lane in touched.values() if (ack := lane.covered())]
        self._acknowledging.add(done)
        self._acknowledging.go_on()

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none."""
        del messages
        return []

    def close(self) -> None:
        """Leave the group."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with contextlib.suppress(TransportUnavailable):
            self._acknowledging.finish(_GOODBYE)
        self._connection.close()

    def _subscribe(self, shard: Shard) -> None:
        place, turn = self._places.index(shard), self._lanes[shard].turn
        headers = {
            "id": f"{place}:{turn}",
            "destination": queue_of(*shard, self._group),
            "ack": "client",  # an acknowledgement covers what came before it on its subscription
            "activemq.exclusive": "true",
            "activemq.prefetchSize": self._prefetch,
        }
        self._connection.send("SUBSCRIBE", headers)

    def _let_go(self) -> None:
        """Give up the queues beyond our part."""
        now = time.monotonic()
        members = sum(now - heard < _SILENT for heard in self._heard.values())
        active = [shard for shard, lane in self._lanes.items() if lane.active]
        for shard in active[-(-len(self._lanes) // members) :]:
            lane = self._lanes[shard]
            self._connection.send("UNSUBSCRIBE", {"id": f"{self._places.index(shard)}:{lane.turn}"})
            self._lanes[shard] = ActiveShardQueue(lane.turn + 1)
            self._arrived.drop(*shard)
            self._changed.notify_all()  # there is room again
            self._subscribe(shard)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten > _BEAT and not self._connection.end:
            self._beaten = self._heard[self._me] = now
            headers = {"destination": self._members, "content-length": str(len(self._me))}
            self._connection.send("SEND", headers, self._me.encode())

    # --- on the client's thread

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _arrive(self, frame: Frame) -> None:
        with self._changed:
            if frame.headers["subscription"] == _MEMBERS:
                self._heard[frame.body.decode()] = time.monotonic()
                return
            place, turn = map(int, frame.headers["subscription"].split(":"))
            shard = self._places[place]
            lane = self._lanes[shard]
            if lane.turn == turn and not self._closing:
                message = message_of(shard[0], frame, ActiveDelivery(shard[1], turn, lane.number))
                lane.delivered(frame.headers["ack"], message.key)
                self._arrived.add(message)
                self._changed.notify_all()
                self._connection.hold(self._changed, lambda: not self._arrived.is_full or self._closing)


def message_of(topic: str, frame: Frame, tag: tuple[Any, ...]) -> Message:
    """Read a message off the wire."""
    try:
        headers = headers_from_json(frame.headers[HEADERS])
        return Message(topic, frame.headers[KEY], frame.body, headers, tag)
    except KeyError as error:
        reason = f"it has no header {error}"
    except ValueError as error:
        reason = str(error)
    others = [(name, part) for name, part in frame.headers.items() if name != KEY]
    return unreadable(topic, reason, key=frame.headers.get(KEY), value=frame.body, others=others, tag=tag)
