"""Reads from a broker in this process: as a member of a group, or as a listener without a group."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from eventkit.domain.message import Message
from eventkit.domain.structured import opened
from eventkit.transports.local.broker import Broker, LocalGroup, Shard
from eventkit.transports.progress import PartitionProgress
from eventkit.transports.received import received


class LocalDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    offset: int


class LocalSubscription:
    """See `Subscription`: releases and takes over shards only within `receive` and `close`."""

    is_new = False  # a new group gets all earlier messages

    def __init__(self, broker: Broker, topics: Sequence[str], group: str) -> None:
        self.topics = frozenset(topics)
        self._broker = broker
        self._owned: dict[Shard, PartitionProgress] = {}
        self._next: dict[Shard, int] = {}
        with broker.changed:
            self._group = broker.groups.setdefault(group, LocalGroup())
            self._group.members.append(self)
            broker.changed.notify_all()

    @property
    def ready(self) -> bool:
        """Always true: `receive` assigns the shards."""
        return True

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        with self._broker.changed:
            found: list[Message] = []
            self._broker.changed.wait_for(lambda: self._fetch(found, limit), timeout)
            return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Move the group's offsets behind the acknowledged messages."""
        with self._broker.changed:
            for message in messages:
                progress = self._owned.get((message.topic, message.tag.shard))
                if progress is not None:  # else another member owns the shard and gets it
                    progress.acknowledge(message.tag.offset, message.key)
            for shard, progress in self._owned.items():
                if progress.advance():
                    self._group.resume[shard] = progress.resume or 0

    def close(self) -> None:
        """Leave the group; other members get the unacknowledged messages."""
        with self._broker.changed:
            if self in self._group.members:
                self._group.members.remove(self)
            self._release(list(self._owned))

    def _fetch(self, found: list[Message], limit: int) -> list[Message]:
        self._rebalance()
        for shard, progress in self._owned.items():
            topic, number = shard
            offset = self._next[shard]
            for message in self._broker.topics[topic][number][offset : offset + limit - len(found)]:
                progress.delivered(self._next[shard], message.key)
                place = LocalDelivery(number, self._next[shard])
                found.append(opened(received(topic, message.key, message.value, message.headers, place)))
                self._next[shard] += 1
        return found

    def _rebalance(self) -> None:
        """Release the shards of other members; take over the free shards of this one."""
        group = self._group
        self._release([shard for shard in self._owned if group.target(shard) is not self])
        for topic in self.topics:
            for number in range(len(self._broker.topics[topic])):
                shard = (topic, number)
                if shard not in group.owners and group.target(shard) is self:
                    group.owners[shard] = self
                    self._owned[shard] = PartitionProgress()
                    self._next[shard] = group.resume.get(shard, 0)

    def _release(self, shards: Sequence[Shard]) -> None:
        for shard in shards:
            del self._owned[shard], self._next[shard], self._group.owners[shard]
        if shards:
            self._broker.changed.notify_all()


class LocalListener(LocalSubscription):
    """See `Transport.listen`: the only member of its own group, which begins at the end of every shard."""

    def __init__(self, broker: Broker, topics: Sequence[str]) -> None:
        self._name = f"listener {uuid4()}"
        with broker.changed:
            group = broker.groups[self._name] = LocalGroup()
            for topic in topics:
                group.resume.update({(topic, number): len(kept) for number, kept in enumerate(broker.topics[topic])})
            super().__init__(broker, topics, self._name)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        found = super().receive(limit, timeout)
        self.acknowledge(found)
        return found

    def close(self) -> None:
        """Leave, and remove the group."""
        super().close()
        with self._broker.changed:
            self._broker.groups.pop(self._name, None)
