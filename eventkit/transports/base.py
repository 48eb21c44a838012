"""The seam to the brokers, and the contract that every transport keeps (tests/transports/contract.py holds them to it).

Order: messages with one key arrive in the order in which one publisher was given them.
Durability: a confirmed message survives the broker's crash. Redelivery: what was not acknowledged is delivered again,
to this member of the group or to another. Partial failure: each message is accounted for by itself.
What a broker cannot do is a flag of the closed list `Flag`; those four are not on it.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from importlib import import_module
from typing import NamedTuple, Protocol

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import ConfigurationError

logger = logging.getLogger("eventkit.transports")


class Flag(Enum):
    """What a transport cannot do; the only differences that are allowed."""

    NO_HISTORY = auto()  # a group that comes later finds nothing of before: take it from the store
    ONE_PROCESS = auto()  # nothing leaves this process


class Reports(msgspec.Struct):
    """What became of messages, by tag. Anything but `confirmed` ends the publisher: see `Publisher.abandon`."""

    confirmed: list[int] = msgspec.field(default_factory=list)  # durable at the broker
    refused: dict[int, str] = msgspec.field(
        default_factory=dict
    )  # the broker will never take this event: too large, invalid; tag -> reason
    held: dict[str, str] = msgspec.field(
        default_factory=dict
    )  # topic -> reason: unknown, forbidden, changed; the events are innocent
    lost: str | None = None  # any other failure; the events are innocent

    @property
    def failed(self) -> bool:
        """Whether the publisher is finished."""
        return bool(self.refused or self.held or self.lost)

    def told(self) -> "Reports":
        """Return what is left of these once they were told: a confirmation is told once, a failure again and again."""
        return Reports([], self.refused, self.held, self.lost)


class Finding(msgspec.Struct, frozen=True):
    """One setting of a broker, and whether what it confirms is safe with it."""

    setting: str
    found: str
    wanted: str
    safe: bool
    reason: str  # what is lost where it is not safe, and what to do
    stops: bool = True  # whether nothing starts where it is not safe; else that is said, and only the doctor fails


def refuse_losses(findings: Sequence[Finding]) -> None:
    """Raise ConfigurationError when a setting loses what the broker confirms; log what may lose it with a machine."""
    for finding in findings:
        if not finding.safe and not finding.stops:
            logger.warning("%s is %s, not %s: %s", finding.setting, finding.found, finding.wanted, finding.reason)
    losses = [
        f"{finding.setting} is {finding.found}, not {finding.wanted}: {finding.reason}"
        for finding in findings
        if not finding.safe and finding.stops
    ]
    if losses:
        raise ConfigurationError("this broker would lose messages: " + "; ".join(losses))


class Mark(NamedTuple):
    """A place in a shard: what is before it has been delivered. `topic_id` is the topic's identity at its broker."""

    topic: str
    shard: int
    topic_id: str
    place: tuple[int, ...]  # numbers of the broker's, compared from the left


class Range(NamedTuple):
    """What a shard has: a reader may begin at any place from `low` to `high`."""

    topic: str
    shard: int
    topic_id: str
    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def key(self) -> tuple[str, int]:
        """The shard."""
        return self.topic, self.shard

    def __str__(self) -> str:
        """Name the shard."""
        return f"{self.topic}, shard {self.shard},"


Resume = Callable[[Sequence[Range]], Mapping[tuple[str, int], tuple[int, ...]]]
"""Says where a member begins to read the shards that it is given; called by its own thread, within `receive`."""


class Publisher(Protocol):
    """Sends messages, in order per key, several batches in flight.

    Used by one thread. Never raises for what a message did: it reports.
    """

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages over, each with an integer tag of its own; wait only while the client's queue is full."""

    def reports(self, timeout: float) -> Reports:
        """Return what is known since the last call, waiting up to `timeout` seconds for the first report.

        A relay asks with 0, every few milliseconds: what was sent goes on its way without it.

        When it `failed`, some messages may be unaccounted for: call `abandon`, use a new publisher.
        """

    def abandon(self) -> Reports:
        """Stop, throw away what was not sent, and return the last word on this publisher; takes four seconds at most.

        Messages in none of the reports may still arrive later (as duplicates).
        """

    def close(self, timeout: float) -> Reports:
        """Send what is queued, wait for its reports, and close.

        What is unconfirmed at the time limit is in no report.
        """


MAX_BYTES = 8_000_000  # of one call of `receive`, and nearly that of what a client holds ready for the next


class Subscription(Protocol):
    """One member of a group that shares the topics' messages. Used by one thread.

    What a member holds in memory is bounded by bytes: `receive` returns what it has once that is `MAX_BYTES`, give or
    take a few messages, however many more there are.
    """

    @property
    def is_new(self) -> bool:
        """Whether the group had no place at the broker before: what was sent before, a broker may not have kept."""

    @property
    def ready(self) -> bool:
        """Whether this member has its part of the group and has looked there: until then nothing means nothing."""

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return at most `limit` messages as soon as there are some; an empty list after `timeout` seconds.

        Messages of one key come in order and to one member at a time. A member that joins or leaves changes the shares
        only within this call, so nothing is taken away while a batch is being applied.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Never deliver these, nor earlier ones of their keys, to this group again.

        Losing it means a redelivery, no more.
        """

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the places behind these messages, the last that were received; none where a broker has no places."""

    def close(self) -> None:
        """Leave the group; what was not acknowledged goes to others. Takes five seconds at most."""


class Transport(Protocol):
    """One broker's road."""

    flags: frozenset[Flag]

    def publisher(self, *, to_listeners: bool = False) -> Publisher:
        """Return a new publisher; it may connect in the background.

        `to_listeners`: for what concerns nobody who is not listening; where nobody is, it is confirmed all the same.
        """

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> Subscription:
        """Join a group; a group's first member starts at the earliest message.

        Where the broker has places and `resume` is given, it says where each shard is read from. TopicUnusable when a
        topic is missing.
        """

    def listen(self, topics: Sequence[str]) -> Subscription:
        """Return a reader of its own, from now on: what is sent after this has returned, it receives.

        It shares with nobody, acknowledges nothing and leaves nothing behind. TopicUnusable when a topic is missing.
        """

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the topics that are missing and return their names."""

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions (or shards) each topic has; TopicUnusable when one is missing."""

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return a line that names the broker, and its version where it tells one; or raise TransportUnavailable.

        ConfigurationError where its settings, or those of these topics, lose what it confirms.
        """

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:
        """Return what the settings of the broker, and of these topics, mean for what it confirms."""

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim topics for an owner where nobody has; return whose each is, without those that are missing.

        A claim is renewed by claiming again. TransportError where this user may not.
        """

    def release(self, topic: str) -> None:
        """Take a claim away, whoever has it."""

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups that may have places in these topics, as far as the broker tells."""

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Remove a group, with its place in these topics; one that is not there is gone.

        TransportError where it has members, or where the broker cannot remove it.
        """

    def close(self) -> None:
        """Let go of connections."""


_CLIENTS = {"kafka": "confluent_kafka", "rabbitmq": "pika", "redis": "redis", "activemq": "stomp"}
_MODULES = {
    "kafka": "eventkit.transports.kafka",
    "rabbitmq": "eventkit.transports.rabbitmq",
    "rabbitmqs": "eventkit.transports.rabbitmq",
    "redis": "eventkit.transports.redis",
    "rediss": "eventkit.transports.redis",
    "activemq": "eventkit.transports.activemq",
    "activemqs": "eventkit.transports.activemq",
    "local": "eventkit.transports.local",
}


def open_transport(url: str, options: Mapping[str, str] | None = None) -> Transport:
    """Open the transport that a URL names: `kafka://host:9092,host2:9092`, `local://name`.

    Options pass through to the client.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    scheme = scheme if re.fullmatch(r"[a-z][a-z0-9+]{0,20}", scheme) else "another"
    module = _MODULES.get(scheme)
    if module is None:
        known = ", ".join(f"{name}://" for name in _MODULES)
        # Without the URL: where it is mangled, nobody can tell what of it is a password.
        msg = f"the transport URL has the scheme {scheme!r}; known are {known}, as in kafka://host:9092"
        raise ConfigurationError(msg)
    try:
        opener: Callable[[str, Mapping[str, str]], Transport] = import_module(module).open_transport
    except (ImportError, AttributeError) as error:
        raise _no_client(module.rpartition(".")[2], error) from error
    return opener(url, options or {})


def _no_client(broker: str, error: Exception) -> ConfigurationError:
    """Say that a broker's client is not installed, or that a file of its name is in its place."""
    client = _CLIENTS.get(broker, broker)
    there = sys.modules.get(client)
    place = getattr(there, "__file__", None)
    if place is None:
        return ConfigurationError(f"{broker} needs its client: pip install 'eventkit-outbox[{broker}]' ({error})")
    return ConfigurationError(
        f"{place} was imported as {broker}'s client {client} and is not what eventkit needs ({error}): rename that "
        f"file if it is yours, or pip install 'eventkit-outbox[{broker}]'"
    )


def open_history(url: str, options: Mapping[str, str] | None = None) -> Transport | None:
    """Open a transport that keeps history; None where the one that the URL names does not."""
    transport = open_transport(url, options)
    if Flag.NO_HISTORY in transport.flags:
        transport.close()
        return None
    return transport
