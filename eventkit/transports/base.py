"""The interface to the brokers, and the contract of every transport (tests/transports/contract.py tests it).

Order: messages with one key arrive in the order in which one publisher sent them.
Durability: a confirmed message survives the broker's crash.
Redelivery: an unacknowledged message is delivered again, to this member of the group or to another.
Partial failure: each message is reported by itself.
Every transport keeps these four. Other limits of a broker are flags of the closed list `Flag`.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from importlib import import_module
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import ConfigurationError
from eventkit.transports.content_modes import in_format, without_format

logger = logging.getLogger("eventkit.transports")


class Flag(Enum):
    """A limit of a transport; transports differ in nothing else."""

    NO_HISTORY = auto()  # a new group gets no earlier messages: read them from the store
    ONE_PROCESS = auto()  # messages stay in this process


class Reports(msgspec.Struct):
    """The results of sending, by tag. Any failure ends the publisher: see `Publisher.abandon`."""

    confirmed: list[int] = msgspec.field(default_factory=list)  # durable at the broker
    # The reason by tag: the broker will never accept this event, because it is too large or invalid.
    refused: dict[int, str] = msgspec.field(default_factory=dict)
    # The reason by topic: it is unknown, forbidden or changed. No event is at fault.
    held: dict[str, str] = msgspec.field(default_factory=dict)
    lost: str | None = None  # the reason of any other failure; no event is at fault

    @property
    def failed(self) -> bool:
        """Whether the publisher has ended."""
        return bool(self.refused or self.held or self.lost)

    def failures(self) -> "Reports":
        """Return the failures alone: a confirmation is reported once, a failure in every later report too."""
        return Reports([], self.refused, self.held, self.lost)


class Finding(msgspec.Struct, frozen=True):
    """One setting of a broker, and whether confirmed messages are safe with it."""

    setting: str
    found: str
    wanted: str
    safe: bool
    reason: str  # names the loss that an unsafe value causes, and the cure
    stops: bool = True  # whether an unsafe value stops a start; else it is logged, and only the doctor fails


def refuse_losses(findings: Sequence[Finding]) -> None:
    """Raise ConfigurationError for settings that lose confirmed messages; log the unsafe ones that do not stop."""
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
    """A place in a shard: every message before it was delivered. `topic_id` is the topic's identity at its broker."""

    topic: str
    shard: int
    topic_id: str
    place: tuple[int, ...]  # the broker's numbers, compared from the left


def shard_of(message: Message) -> int:
    """Return the number of the shard that a received message came from; 0 where its tag does not say it."""
    tag = message.tag
    place = tag[0] if type(tag) is tuple and tag else tag  # Kafka's tags are plain pairs, which are made faster
    return int(getattr(place, "shard", 0))


class Range(NamedTuple):
    """The places of a shard: a reader may begin at any place from `low` to `high`."""

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
        """Return the shard's name."""
        return f"{self.topic}, shard {self.shard},"


Resume = Callable[[Sequence[Range]], Mapping[tuple[str, int], tuple[int, ...]]]
"""Returns the places at which a member begins to read its shards; called by the member's thread, within `receive`."""


class Publisher(Protocol):
    """Sends messages, in order per key, several batches in flight.

    Used by one thread. A message's failure is never raised: it is reported.
    """

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages, each with its own integer tag; wait only while the client's queue is full."""

    def reports(self, timeout: float) -> Reports:
        """Return the results since the last call, waiting up to `timeout` seconds for the first one.

        A relay calls it with 0 every few milliseconds. Sending does not depend on this call.

        After a failure some messages may be in no report: call `abandon`, then use a new publisher.
        """

    def abandon(self) -> Reports:
        """Stop, discard the unsent messages, and return the last results; takes four seconds at most.

        Messages in no report may still arrive later, as duplicates.
        """

    def close(self, timeout: float) -> Reports:
        """Send the queued messages, wait up to `timeout` seconds for their results, and close.

        Messages that are unconfirmed at the time limit are in no report.
        """


MAX_BYTES = 8_000_000  # of one call of `receive`; a client holds about as much ready for the next call


class Subscription(Protocol):
    """One member of a group that shares the topics' messages. Used by one thread.

    Bytes bound a member's memory: `receive` returns once it has about `MAX_BYTES`, however many more messages wait.
    """

    @property
    def is_new(self) -> bool:
        """Whether the group had no place at the broker before; the broker may not have kept earlier messages."""

    @property
    def ready(self) -> bool:
        """Whether this member has its shards and has read from them; before that, an empty result proves nothing."""

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return at most `limit` messages as soon as there are some; an empty list after `timeout` seconds.

        Messages of one key come in order and to one member at a time. Members that join or leave change the shares
        only within this call, so a member keeps its shards while it applies a batch.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these messages and the earlier ones of their keys: this group never gets them again.

        A lost acknowledgement causes a redelivery, nothing else.
        """

    def close(self) -> None:
        """Leave the group; other members get the unacknowledged messages. Takes five seconds at most."""


@runtime_checkable
class PlacedSubscription(Subscription, Protocol):
    """A member at a broker whose messages have places, at which a reader can resume."""

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the places behind these messages, the last received ones."""


class Transport(Protocol):
    """A connection to one broker."""

    flags: frozenset[Flag]
    system: str  # its name in OpenTelemetry's conventions for messaging

    def publisher(self, *, to_listeners: bool = False) -> Publisher:
        """Return a new publisher; it may connect in the background.

        `to_listeners`: only present listeners need these messages; they are confirmed without any listener too.
        """

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> Subscription:
        """Join a group; a group's first member starts at the earliest message.

        `resume` returns the place at which to read each shard; a broker without places does not call it.
        TopicUnusable when a topic is missing.
        """

    def listen(self, topics: Sequence[str]) -> Subscription:
        """Return a reader without a group: it receives every message that is sent after this call has returned.

        It acknowledges nothing and leaves nothing at the broker. TopicUnusable when a topic is missing.
        """

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the topics that are missing and return their names."""

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions (or shards) each topic has; TopicUnusable when one is missing."""

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return a line that names the broker, and its version if known.

        TransportUnavailable when it does not answer. ConfigurationError when its settings, or those of these topics,
        lose confirmed messages.
        """

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:
        """Return the settings of the broker, and of these topics, that decide whether confirmed messages are safe."""

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics for an owner; return the owner of each topic that exists.

        Claiming again renews a claim. TransportError when this user has no right to claim.
        """

    def release(self, topic: str) -> None:
        """Remove a topic's claim, for any owner."""

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups that may have places in these topics, as far as the broker lists them."""

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Remove a group, with its places in these topics; a missing group is no error.

        TransportError when it has members, or when the broker cannot remove it.
        """

    def close(self) -> None:
        """Close the connections."""


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

    Options pass through to the client; `format=structured` sends events in CloudEvents' structured mode.
    ConfigurationError for an unknown scheme, a wrong option or a missing client.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    scheme = scheme if re.fullmatch(r"[a-z][a-z0-9+]{0,20}", scheme) else "another"
    module = _MODULES.get(scheme)
    if module is None:
        known = ", ".join(f"{name}://" for name in _MODULES)
        # The message leaves out the URL: a mangled URL may have a password anywhere.
        msg = f"the transport URL has the scheme {scheme!r}; known are {known}, as in kafka://host:9092"
        raise ConfigurationError(msg)
    try:
        opener: Callable[[str, Mapping[str, str]], Transport] = import_module(module).open_transport
    except (ImportError, AttributeError) as error:
        raise _no_client(module.rpartition(".")[2], error) from error
    url, options, content_mode = without_format(url, options or {})
    return in_format(opener(url, options), content_mode)


def _no_client(broker: str, error: Exception) -> ConfigurationError:
    """Return the error for a client that is not installed, or is shadowed by a file of its name."""
    client = _CLIENTS.get(broker, broker)
    there = sys.modules.get(client)
    place = getattr(there, "__file__", None)
    if place is None:
        return ConfigurationError(f"{broker} needs its client: pip install 'eventkit-outbox[{broker}]' ({error})")
    return ConfigurationError(
        f"{place} was imported as {broker}'s client {client}, but it is another module ({error}): rename that "
        f"file if it is yours, or pip install 'eventkit-outbox[{broker}]'"
    )


def open_history(url: str, options: Mapping[str, str] | None = None) -> Transport | None:
    """Open the transport that a URL names; return None if it keeps no history."""
    transport = open_transport(url, options)
    if Flag.NO_HISTORY in transport.flags:
        transport.close()
        return None
    return transport
