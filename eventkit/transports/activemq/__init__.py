"""ActiveMQ by STOMP: `activemq://user:password@host:61613`, TLS by `activemqs://`; a topic is a virtual topic a shard.

A group has a queue for each shard with one exclusive consumer, so one member of the group reads a stream at a time.
Decision 28 explains why message groups were not used: the broker forgets the owners of groups beyond a thousand. A
virtual topic drops messages without a queue, so a topic without a group holds its events back. A new group gets no
earlier messages.
"""

from collections.abc import Mapping, Sequence

from eventkit.errors import TransportError
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.listener import ActiveListener
from eventkit.transports.activemq.publisher import ActivePublisher
from eventkit.transports.activemq.registry import Registry, claim_of
from eventkit.transports.activemq.subscription import ActiveSubscription
from eventkit.transports.base import Finding, Flag, Resume


class ActiveTransport:
    """See `Transport`."""

    flags: frozenset[Flag] = frozenset({Flag.NO_HISTORY})
    system = "activemq"

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = ActiveAddress(url, options)
        self._registry = Registry(self._address)

    def publisher(self, *, to_listeners: bool = False) -> ActivePublisher:
        """Return a publisher that connects at its first message; `to_listeners`: it needs no group."""
        return ActivePublisher(self._address, self._registry, to_listeners=to_listeners)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> ActiveSubscription:  # noqa: ARG002 a queue has no places
        """Join a group; TopicUnusable when a topic is missing. `resume` is not called: a queue has no places."""
        shards = self._registry.require(topics)
        is_new = self._registry.join(shards, group)
        return ActiveSubscription(self._address, shards, group, is_new=is_new)

    def listen(self, topics: Sequence[str]) -> ActiveListener:
        """Return a reader of the messages that are sent from now on."""
        return ActiveListener(self._address, self._registry.require(topics))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        return self._registry.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        return self._registry.require(topics)

    def check(self, topics: Sequence[str] = ()) -> str:  # noqa: ARG002 STOMP reports no settings
        """Return a line with the server and its host."""
        return f"{self._registry.server()} at {self._address.hosts}, by STOMP"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 a topic has no settings of its own
        """Return the findings that are possible by STOMP."""
        return self._registry.findings()

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics by a record each; return the owner of each."""
        return self._registry.claim(topics, owner)

    def release(self, topic: str) -> None:
        """Raise TransportError: STOMP cannot delete the queue with the claim."""
        raise TransportError(f"ActiveMQ deletes no queue by STOMP: delete {claim_of(topic)} in its console")

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the recorded groups."""
        return self._registry.groups(topics)

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Raise TransportError: STOMP cannot delete a queue."""
        queues = ", ".join(f"Consumer.*.VirtualTopic.{topic}.*" for topic in topics)
        raise TransportError(
            f"ActiveMQ deletes no queue by STOMP: delete those of group {group!r} ({queues}) in its console, "
            "and its record in the queues eventkit.groups.*"
        )

    def close(self) -> None:
        """Do nothing: no connection stays open."""


def open_transport(url: str, options: Mapping[str, str]) -> ActiveTransport:
    """Open the transport that a URL names."""
    return ActiveTransport(url, options)
