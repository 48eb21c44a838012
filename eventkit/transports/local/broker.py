"""What all in-process transports of one name share: messages, the places of the groups, and the faults asked for."""

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
    """Who shares a group's topics."""

    @property
    def topics(self) -> frozenset[str]:
        """What it wants."""


class LocalGroup:
    """Where a group is in every shard, and who owns which."""

    def __init__(self) -> None:
        self.resume: dict[Shard, int] = {}
        self.members: list[Member] = []
        self.owners: dict[Shard, Member] = {}

    def target(self, shard: Shard) -> Member | None:
        """Return the member that should own a shard."""
        candidates = [member for member in self.members if shard[0] in member.topics]
        return candidates[shard[1] % len(candidates)] if candidates else None


class Broker:
    """What all transports of one name share. `changed` guards it all."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topics: dict[str, list[list[Message]]] = {}
        self.groups: dict[str, LocalGroup] = {}
        self.claims: dict[str, str] = {}  # topic -> owner
        self.refusal: Refusal = lambda _: None
        self.held: dict[str, str] = {}
        self.lost: str | None = None

    def append(self, message: Message) -> None:
        """Keep a message for every group."""
        shards = self.topics[message.topic]
        shards[zlib.crc32(as_text(message.key).encode()) % len(shards)].append(message)
