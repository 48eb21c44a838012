"""Sends the first message to a cold partition alone; once it is confirmed, the gate is warm and the others follow.

librdkafka's gapless guarantee keeps the order behind a refused message only on a partition where this producer has an
acknowledged message. On a cold partition, message 1 was refused and 2 to 5 were in the log, in three of three trials.
An idle gate is cold again after an hour, because the broker may have forgotten the producer there.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from eventkit.domain.message import Message
from eventkit.transports.kafka.topics import Topic
from eventkit.transports.partition import MAX_KEYS, partition_of

Queue = deque[Message]


class PartitionGate(msgspec.Struct, eq=False):
    """The state of one partition, for the publisher; `produce` is its producer's function."""

    produce: Callable[..., Any]
    partition: int
    warm: bool = False
    probing: bool = False  # its first message is in flight
    used: bool = True
    waiting: Queue = msgspec.field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """Whether no message was sent since `used` was cleared."""
        return not (self.used or self.probing or self.waiting)


class PartitionGates:
    """The gates of all topics in use, and the gate of each key."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], PartitionGate] = {}  # (topic, key), bounded
        self._topics: dict[str, list[PartitionGate]] = {}

    def open(self, topic: Topic, produce: Callable[..., Any]) -> None:
        """Make a topic's gates, all cold."""
        self._topics[topic.name] = [PartitionGate(produce, number) for number in range(topic.partitions)]

    def find(self, topic: str, key: str) -> PartitionGate | None:
        """Return the gate of a key; None while the topic is unknown."""
        gates = self._topics.get(topic)
        if gates is None:
            return None
        if len(self.known) >= MAX_KEYS:
            self.known.clear()
        gate = self.known[topic, key] = gates[partition_of(key, len(gates))]
        return gate

    def cool(self) -> None:
        """Make the gates cold that were idle since the last call."""
        for gates in self._topics.values():
            for gate in gates:
                gate.warm = gate.warm and not gate.idle
                gate.used = False
