"""RabbitMQ: `rabbitmq://user:password@host:5672/vhost`, TLS by `rabbitmqs://`; a topic is a fanout exchange per shard.

A group has a durable quorum queue for each shard, with a single active consumer, so one member of the group reads a
stream at a time. RabbitMQ returns a message without a queue instead of dropping it: a topic without a group holds its
events back. A new group gets no earlier messages. RabbitMQ 3.10 and later.
"""

from collections.abc import Mapping, Sequence

from eventkit.transports.base import Finding, Flag, Resume, refuse_losses
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.listener import RabbitListener
from eventkit.transports.rabbitmq.publisher import RabbitPublisher
from eventkit.transports.rabbitmq.subscription import RabbitSubscription
from eventkit.transports.rabbitmq.topology import Topology


class RabbitTransport:
    """See `Transport`."""

    flags: frozenset[Flag] = frozenset({Flag.NO_HISTORY})
    system = "rabbitmq"

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = RabbitAddress(url, options)
        self._topology = Topology(self._address)

    def publisher(self, *, to_listeners: bool = False) -> RabbitPublisher:
        """Return a publisher that connects in the background; `to_listeners`: messages without a queue are dropped."""
        return RabbitPublisher(self._address, self._topology, to_listeners=to_listeners)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> RabbitSubscription:  # noqa: ARG002 a queue has no places
        """Join a group; TopicUnusable when a topic is missing, or its queue may drop messages.

        `resume` is not called: a queue has no places.
        """
        shards = self._topology.require(topics)
        is_new = self._topology.join(shards, group)
        return RabbitSubscription(self._address, shards, group, is_new=is_new)

    def listen(self, topics: Sequence[str]) -> RabbitListener:
        """Return a reader of the messages that are sent from now on."""
        return RabbitListener(self._address, self._topology.require(topics))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        return self._topology.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        return self._topology.require(topics)

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return a line with the release and the host; ConfigurationError when the release loses confirmed messages."""
        refuse_losses(self.findings(topics))
        return f"RabbitMQ {self._topology.version()} at {self._address.hosts}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 eventkit declares the queues
        """Return whether confirmed messages are safe with the server's release."""
        return self._topology.findings()

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics by the one message of a queue each; return the owner of each."""
        return self._topology.claim(topics, owner)

    def release(self, topic: str) -> None:
        """Delete the queue with the claim."""
        self._topology.release(topic)

    def groups(self, topics: Sequence[str]) -> list[str]:  # noqa: ARG002 no list has these queues
        """Return an empty list: AMQP lists no queues."""
        return []

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Delete a group's queues."""
        self._topology.forget(topics, group)

    def close(self) -> None:
        """Do nothing: no connection stays open."""


def open_transport(url: str, options: Mapping[str, str]) -> RabbitTransport:
    """Open the transport that a URL names."""
    return RabbitTransport(url, options)
