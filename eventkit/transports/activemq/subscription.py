"""One member of a group: it subscribes to every shard's queue, and the broker delivers each queue to one consumer.

The first member gets every queue. A member that is active in more queues than its share releases the others within
`receive`, by unsubscribing and subscribing again. Members send heartbeats to each other on a topic of the group.

The broker limits the messages sent ahead by number (`prefetch`), and the member limits them by bytes: with a full
buffer it reads no more from its connection.
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
from eventkit.domain.structured import opened
from eventkit.errors import TransportUnavailable
from eventkit.transports.activemq.acknowledgements import Acknowledgements
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection, Frame
from eventkit.transports.activemq.frames import joined
from eventkit.transports.activemq.publisher import HEADERS, KEY
from eventkit.transports.activemq.registry import queue_of
from eventkit.transports.buffer import Buffer
from eventkit.transports.json_headers import headers_from_json
from eventkit.transports.progress import PartitionProgress
from eventkit.transports.received import unreadable

Shard = tuple[str, int]

_HEARTBEAT_INTERVAL = 0.5  # seconds between two heartbeats to the other members
_CLOSE_TIMEOUT = 2.0  # seconds for the last acknowledgements
_MEMBER_TIMEOUT = 3.0  # seconds without a heartbeat after which a member counts as gone
_MEMBERS = "members"  # the id of the subscription to the group's topic


class ActiveDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    turn: int  # number of the subscription to the shard: messages of an earlier one belong to another member
    number: int  # on that subscription


class ActiveShardQueue(msgspec.Struct):
    """One subscription of this member to a shard's queue."""

    turn: int = 0
    progress: PartitionProgress = msgspec.field(default_factory=PartitionProgress)
    number: int = 0  # of the next delivery
    acks: deque[str] = msgspec.field(default_factory=deque)  # of the delivered, unacknowledged messages, in order

    @property
    def active(self) -> bool:
        """Whether it has received a message."""
        return self.number > 0

    def delivered(self, ack: str, key: str) -> None:
        """Record a delivery."""
        self.progress.delivered(self.number, key)
        self.number += 1
        self.acks.append(ack)

    def covered(self) -> str | None:
        """Return the id that acknowledges all messages up to the first unacknowledged one; None if it has not moved."""
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
        self._seen = {self._me: time.monotonic()}  # when each member sent its last heartbeat
        self._places = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._queues = {shard: ActiveShardQueue() for shard in self._places}
        self._arrived = Buffer()
        self._closing = False
        self._sent_heartbeat = 0.0
        self._changed = threading.Condition()  # guards all of the above
        self._connection = Connection(address, arrived=self._arrive, answered=self._wake)
        self._acknowledging = Acknowledgements(self._connection)
        self._members = f"/topic/eventkit.members.{group}"
        self._connection.send("SUBSCRIBE", {"id": _MEMBERS, "destination": self._members, "ack": "auto"})
        self._send_heartbeat()
        for shard in self._places:
            self._subscribe(shard)
        # The broker answers in order: this receipt shows that it has the subscriptions.
        self._subscribed = self._connection.send("BEGIN", {"transaction": "subscribed"}, receipt=True)
        self._connection.send("ABORT", {"transaction": "subscribed"})

    @property
    def ready(self) -> bool:
        """Whether the broker knows this member as a consumer of every shard's queue."""
        return self._connection.missing([self._subscribed]) is None

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        self._send_heartbeat()
        deadline = time.monotonic() + timeout
        while True:
            self._acknowledging.send_next()
            with self._changed:
                if self._acknowledging.is_clear:  # a released queue's messages can no longer be acknowledged
                    self._release_excess()
                self._changed.wait_for(self._has_news, max(0.0, min(deadline - time.monotonic(), _HEARTBEAT_INTERVAL)))
                if self._connection.end and not self._arrived:
                    raise TransportUnavailable(self._connection.end)
                if self._arrived or time.monotonic() >= deadline:
                    self._changed.notify_all()  # the buffer has room again
                    return self._arrived.take(limit)

    def _has_news(self) -> bool:
        return bool(self._arrived or self._connection.end or self._acknowledging.can_send)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these and the earlier ones of their keys."""
        with self._changed:
            touched: dict[Shard, ActiveShardQueue] = {}
            for message in messages:
                shard = message.topic, message.tag.shard
                queue = self._queues[shard]
                if message.tag.turn == queue.turn:
                    queue.progress.acknowledge(message.tag.number, message.key)
                    touched[shard] = queue
            done = [ack for queue in touched.values() if (ack := queue.covered())]
        self._acknowledging.add(done)
        self._acknowledging.send_next()

    def close(self) -> None:
        """Leave the group."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with contextlib.suppress(TransportUnavailable):
            self._acknowledging.finish(_CLOSE_TIMEOUT)
        self._connection.close()

    def _subscribe(self, shard: Shard) -> None:
        place, turn = self._places.index(shard), self._queues[shard].turn
        headers = {
            "id": f"{place}:{turn}",
            "destination": queue_of(*shard, self._group),
            "ack": "client",  # an acknowledgement covers the earlier messages of its subscription
            "activemq.exclusive": "true",
            "activemq.prefetchSize": self._prefetch,
        }
        self._connection.send("SUBSCRIBE", headers)

    def _release_excess(self) -> None:
        """Release the queues beyond this member's share."""
        now = time.monotonic()
        members = sum(now - seen < _MEMBER_TIMEOUT for seen in self._seen.values())
        active = [shard for shard, queue in self._queues.items() if queue.active]
        for shard in active[-(-len(self._queues) // members) :]:
            queue = self._queues[shard]
            self._connection.send("UNSUBSCRIBE", {"id": f"{self._places.index(shard)}:{queue.turn}"})
            self._queues[shard] = ActiveShardQueue(queue.turn + 1)
            self._arrived.drop(*shard)
            self._changed.notify_all()  # the buffer has room again
            self._subscribe(shard)

    def _send_heartbeat(self) -> None:
        now = time.monotonic()
        if now - self._sent_heartbeat > _HEARTBEAT_INTERVAL and not self._connection.end:
            self._sent_heartbeat = self._seen[self._me] = now
            headers = {"destination": self._members, "content-length": str(len(self._me))}
            self._connection.send("SEND", headers, self._me.encode())

    # --- on the client's thread

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _arrive(self, frame: Frame) -> None:
        with self._changed:
            if frame.headers["subscription"] == _MEMBERS:
                self._seen[frame.body.decode()] = time.monotonic()
                return
            place, turn = map(int, frame.headers["subscription"].split(":"))
            shard = self._places[place]
            queue = self._queues[shard]
            if queue.turn == turn and not self._closing:
                message = message_of(shard[0], frame, ActiveDelivery(shard[1], turn, queue.number))
                queue.delivered(frame.headers["ack"], message.key)
                self._arrived.add(message)
                self._changed.notify_all()
                self._connection.pause(self._changed, lambda: not self._arrived.is_full or self._closing)


def message_of(topic: str, frame: Frame, tag: tuple[Any, ...]) -> Message:
    """Return the message of a frame."""
    content_type = frame.headers.get("content-type", "")
    if HEADERS not in frame.headers and content_type.startswith("application/cloudevents"):
        return opened(Message(topic, frame.headers.get(KEY, ""), frame.body, [("content-type", content_type)], tag))
    try:
        headers = headers_from_json(joined(HEADERS, frame.headers))
        return opened(Message(topic, frame.headers[KEY], frame.body, headers, tag))
    except KeyError as error:
        reason = f"it has no header {error}"
    except ValueError as error:
        reason = str(error)
    others = [(name, part) for name, part in frame.headers.items() if name != KEY]
    return unreadable(topic, reason, key=frame.headers.get(KEY), value=frame.body, others=others, tag=tag)
