"""An in-process transport that keeps the whole contract, for tests and for services of one process: `local://name`.

Topics are lists in memory, cut into shards by key; groups share the shards, one owner each, and keep what was
acknowledged. Everything with one name shares one broker, for as long as the process lives. Faults can be asked for:
`refuse`, `hold` and `lose` do what a real broker does to a publisher.
"""

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from eventkit.domain.message import Message
from eventkit.errors import ConfigurationError, TopicUnusable
from eventkit.transports.base import Finding, Flag, Reports
from eventkit.transports.progress import Progress

_MISSING = "this process has not created it: call create_topics first"

Shard = tuple[str, int]
Refusal = Callable[[Message], str | None]


class Place(NamedTuple):
    """A delivery's tag."""

    shard: int
    offset: int


class Broker:
    """What all transports of one name share. `changed` guards it all."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topics: dict[str, list[list[Message]]] = {}
        self.groups: dict[str, Group] = {}
        self.refusal: Refusal = lambda _: None
        self.held: dict[str, str] = {}
        self.lost: str | None = None

    def append(self, message: Message) -> None:
        """Keep a message for every group."""
        shards = self.topics[message.topic]
        shards[zlib.crc32(message.key.encode()) % len(shards)].append(message)


class Group:
    """Where a group is in every shard, and who owns which."""

    def __init__(self) -> None:
        self.resume: dict[Shard, int] = {}
        self.members: list[LocalSubscription] = []
        self.owners: dict[Shard, LocalSubscription] = {}

    def target(self, shard: Shard) -> "LocalSubscription | None":
        """Return the member that should own a shard."""
        candidates = [member for member in self.members if shard[0] in member.topics]
        return candidates[shard[1] % len(candidates)] if candidates else None


class LocalPublisher:
    """See `Publisher`: what `send` takes is at once where every group finds it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._verdict = Reports()
        self._confirmed: list[int] = []

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages up to the first that fails."""
        with self._broker.changed:
            for message in messages:
                if self._verdict.failed or self._fails(message):
                    break
                self._broker.append(message)
                self._confirmed.append(message.tag)
            self._broker.changed.notify_all()

    def reports(self, timeout: float) -> Reports:
        """Return what became of what was sent: it is known at once."""
        if not (self._confirmed or self._verdict.failed):
            time.sleep(timeout)
        return self._take()

    def abandon(self) -> Reports:
        """Return the last word."""
        return self._take()

    def close(self, timeout: float) -> Reports:  # noqa: ARG002 nothing is queued
        """Return the last reports."""
        return self._take()

    def _fails(self, message: Message) -> bool:
        broker, verdict = self._broker, self._verdict
        verdict.lost = broker.lost
        held = broker.held.get(message.topic) if message.topic in broker.topics else _MISSING
        if held:
            verdict.held[message.topic] = held
        elif not verdict.lost and (reason := broker.refusal(message)):
            verdict.refused[message.tag] = reason
        return verdict.failed

    def _take(self) -> Reports:
        confirmed, self._confirmed = self._confirmed, []
        return Reports(confirmed, dict(self._verdict.refused), dict(self._verdict.held), self._verdict.lost)


class LocalSubscription:
    """See `Subscription`: gives up and takes over shards only within `receive` and `close`."""

    is_new = False  # its group finds what was before

    def __init__(self, broker: Broker, topics: Sequence[str], group: str) -> None:
        self.topics = frozenset(topics)
        self._broker = broker
        self._owned: dict[Shard, Progress] = {}
        self._next: dict[Shard, int] = {}
        with broker.changed:
            self._group = broker.groups.setdefault(group, Group())
            self._group.members.append(self)
            broker.changed.notify_all()

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        with self._broker.changed:
            found: list[Message] = []
            self._broker.changed.wait_for(lambda: self._gather(found, limit), timeout)
            return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Move the group on behind what is contiguous."""
        with self._broker.changed:
            for message in messages:
                progress = self._owned.get((message.topic, message.tag.shard))
                if progress is not None:  # else it was taken away: another member gets it
                    progress.acknowledge(message.tag.offset, message.key)
            for shard, progress in self._owned.items():
                if progress.advance():
                    self._group.resume[shard] = progress.resume or 0

    def close(self) -> None:
        """Leave; others get what was not acknowledged."""
        with self._broker.changed:
            if self in self._group.members:
                self._group.members.remove(self)
            self._give_up(list(self._owned))

    def _gather(self, found: list[Message], limit: int) -> list[Message]:
        self._share()
        for shard, progress in self._owned.items():
            topic, number = shard
            offset = self._next[shard]
            for message in self._broker.topics[topic][number][offset : offset + limit - len(found)]:
                progress.delivered(self._next[shard], message.key)
                found.append(
                    Message(topic, message.key, message.value, list(message.headers), Place(number, self._next[shard]))
                )
                self._next[shard] += 1
        return found

    def _share(self) -> None:
        """Give up what is another's, take over what is ours and free."""
        group = self._group
        self._give_up([shard for shard in self._owned if group.target(shard) is not self])
        for topic in self.topics:
            for number in range(len(self._broker.topics[topic])):
                shard = (topic, number)
                if shard not in group.owners and group.target(shard) is self:
                    group.owners[shard] = self
                    self._owned[shard] = Progress()
                    self._next[shard] = group.resume.get(shard, 0)

    def _give_up(self, shards: Sequence[Shard]) -> None:
        for shard in shards:
            del self._owned[shard], self._next[shard], self._group.owners[shard]
        if shards:
            self._broker.changed.notify_all()


class LocalListener(LocalSubscription):
    """See `Transport.listen`: the one member of a group that begins at the end of everything, and goes with it."""

    def __init__(self, broker: Broker, topics: Sequence[str]) -> None:
        self._name = f"listener {uuid4()}"
        with broker.changed:
            group = broker.groups[self._name] = Group()
            for topic in topics:
                group.resume.update({(topic, number): len(kept) for number, kept in enumerate(broker.topics[topic])})
            super().__init__(broker, topics, self._name)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        found = super().receive(limit, timeout)
        self.acknowledge(found)
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        super().close()
        with self._broker.changed:
            self._broker.groups.pop(self._name, None)


class LocalTransport:
    """See `Transport`; and the faults that a test may ask for."""

    flags: frozenset[Flag] = frozenset({Flag.ONE_PROCESS})

    def __init__(self, name: str) -> None:
        self._name = name
        self._broker = _brokers.setdefault(name, Broker())

    def publisher(self, *, to_listeners: bool = False) -> LocalPublisher:  # noqa: ARG002 nobody is needed anyhow
        """Return a new publisher."""
        return LocalPublisher(self._broker)

    def subscribe(self, topics: Sequence[str], group: str) -> LocalSubscription:
        """Join a group; TopicUnusable when a topic is missing."""
        self.partitions(topics)
        return LocalSubscription(self._broker, topics, group)

    def listen(self, topics: Sequence[str]) -> LocalListener:
        """Hear what comes from now on."""
        self.partitions(topics)
        return LocalListener(self._broker, topics)

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create what is missing."""
        with self._broker.changed:
            missing = [topic for topic in dict.fromkeys(topics) if topic not in self._broker.topics]
            self._broker.topics.update({topic: [[] for _ in range(partitions)] for topic in missing})
            return missing

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        missing = {topic: _MISSING for topic in topics if topic not in self._broker.topics}
        if missing:
            raise TopicUnusable(missing)
        return {topic: len(self._broker.topics[topic]) for topic in topics}

    def check(self, topics: Sequence[str] = ()) -> str:  # noqa: ARG002 it has no settings
        """Say that it is here."""
        return f"local://{self._name}, in this process only, {len(self._broker.topics)} topics"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 it has no settings
        """Return nothing: it lives and dies with its process."""
        return []

    def forget(self, topics: Sequence[str], group: str) -> None:  # noqa: ARG002 a group is one for all topics
        """Take a group away."""
        with self._broker.changed:
            self._broker.groups.pop(group, None)

    def close(self) -> None:
        """Nothing to let go of: the messages stay for the process's other users of this name."""

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the messages for which `refusal` returns a reason."""
        self._broker.refusal = refusal

    def hold(self, topic: str, reason: str) -> None:
        """Make a topic unusable to publishers."""
        self._broker.held[topic] = reason

    def lose(self, reason: str) -> None:
        """Make every publisher fail."""
        self._broker.lost = reason

    def heal(self) -> None:
        """End all faults."""
        self._broker.refusal, self._broker.lost = (lambda _: None), None
        self._broker.held.clear()


_brokers: dict[str, Broker] = {}


def open_transport(url: str, options: Mapping[str, str]) -> LocalTransport:
    """Open the transport that a URL names."""
    parts = urlsplit(url)
    if not parts.netloc or parts.path.strip("/") or options:
        raise ConfigurationError(
            f"transport URL {url!r}: an in-process transport is local://name, without path and options"
        )
    return LocalTransport(parts.netloc)
