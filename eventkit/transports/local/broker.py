"""The broker that all in-process transports of one name share: messages, groups with their offsets, and faults."""

import threading
import zlib
from collections.abc import Callable
from typing import Protocol

from eventkit.domain.message import Message
from eventkit.transports.received import as_text

MISSING = "this process has not created it: call create_topics first"

Shard = tuple[str, int]
Refusal = Callable[[Message], str | None]


class Member(Protocol):
    """A member of a group."""

    @property
    def topics(self) -> frozenset[str]:
        """The topics that it reads."""


class LocalGroup:
    """A group's offset in every shard, and the owner of each."""

    def __init__(self) -> None:
        self.resume: dict[Shard, int] = {}
        self.members: list[Member] = []
        self.owners: dict[Shard, Member] = {}

    def target(self, shard: Shard) -> Member | None:
        """Return the member that should own a shard."""
        candidates = [member for member in self.members if shard[0] in member.topics]
        return candidates[shard[1] % len(candidates)] if candidates else None


class Broker:
    """Topics, groups, claims and faults; `changed` guards them all."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topics: dict[str, list[list[Message]]] = {}
        self.groups: dict[str, LocalGroup] = {}
        self.claims: dict[str, str] = {}  # topic -> owner
        self.refusal: Refusal = lambda _: None
        self.held: dict[str, str] = {}
        self.lost: str | None = None

    def refuse(self, refusal: Refusal) -> None:
        """Refuse each message for which `refusal` returns a reason."""
        self.refusal = refusal

    def lose(self, reason: str) -> None:
        """Make every publisher fail."""
        self.lost = reason

    def heal(self) -> None:
        """End all faults."""
        self.refusal, self.lost = (lambda _: None), None
        self.held.clear()

    def append(self, message: Message) -> None:
        """Append a message to the shard of its key."""
        shards = self.topics[message.topic]
        shards[zlib.crc32(as_text(message.key).encode()) % len(shards)].append(message)
