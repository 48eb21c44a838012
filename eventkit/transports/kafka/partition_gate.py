"""A lane is the way to one partition: cold, its first message goes alone; when that is confirmed, the others follow.

Gapless producing keeps the order behind a refused message only where something was acknowledged before it (FACTS §3).
So nothing is sent behind a partition's first message until it is confirmed; lanes that are long idle are cold again,
for the broker may have forgotten the producer there.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from eventkit.domain.message import Message
from eventkit.transports.kafka.topics import Topic
from eventkit.transports.partition import partition_of

Queue = deque[Message]

_KEYS = 200_000  # keys whose lane is remembered


class PartitionGate:
    """One partition of one topic."""

    __slots__ = ("partition", "probing", "produce", "used", "waiting", "warm")

    def __init__(self, produce: Callable[..., Any], partition: int) -> None:
        self.produce = produce
        self.partition = partition
        self.warm = False
        self.probing = False  # its first message is under way
        self.used = True
        self.waiting = Queue()

    @property
    def idle(self) -> bool:
        """Whether nothing went through since `used` was cleared."""
        return not (self.used or self.probing or self.waiting)


class PartitionGates:
    """The lanes of all topics in use, and which one a key takes."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], PartitionGate] = {}  # (topic, key), bounded
        self._topics: dict[str, list[PartitionGate]] = {}

    def open(self, topic: Topic, produce: Callable[..., Any]) -> None:
        """Lay a topic's lanes, all cold."""
        self._topics[topic.name] = [PartitionGate(produce, number) for number in range(topic.partitions)]

    def find(self, topic: str, key: str) -> PartitionGate | None:
        """Return the lane of a key; None while the topic is not known."""
        lanes = self._topics.get(topic)
        if lanes is None:
            return None
        if len(self.known) >= _KEYS:
            self.known.clear()
        lane = self.known[topic, key] = lanes[partition_of(key, len(lanes))]
        return lane

    def cool(self) -> None:
        """Make lanes cold that were idle since the last call."""
        for lanes in self._topics.values():
            for lane in lanes:
                lane.warm = lane.warm and not lane.idle
                lane.used = False
