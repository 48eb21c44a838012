"""RabbitMQ: `rabbitmq://user:password@host:5672/vhost`, TLS by `rabbitmqs://`; a topic is a fanout exchange per shard.

A group has a durable quorum queue for each shard, with a single active consumer, so a stream is with one member of the
group at a time. What has no queue is returned, never dropped: a topic without a group holds its events back. A group
that comes later finds nothing of before. RabbitMQ 3.10 and later.
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

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = RabbitAddress(url, options)
        self._topology = Topology(self._address)

    def publisher(self, *, to_listeners: bool = False) -> RabbitPublisher:
        """Return a publisher that connects in the background; to listeners, what has no queue may be dropped."""
        return RabbitPublisher(self._address, self._topology, to_listeners=to_listeners)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> RabbitSubscription:
        """Join a group; TopicUnusable when a topic is missing, or its queue may drop messages.

        A queue has no places.
        """
        del resume
        shards = self._topology.require(topics)
        is_new = self._topology.join(shards, group)
        return RabbitSubscription(self._address, shards, group, is_new=is_new)

    def listen(self, topics: Sequence[str]) -> RabbitListener:
        """Hear what comes from now on."""
        return RabbitListener(self._address, self._topology.require(topics))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create what is missing."""
        return self._topology.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        return self._topology.require(topics)

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return who answers; ConfigurationError where its release loses what it confirms."""
        refuse_losses(self.findings(topics))
        return f"RabbitMQ {self._topology.version()} at {self._address.hosts}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 its queues are ours to declare
        """Return what the server's release means for what it confirms."""
        return self._topology.findings()

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim topics by the one message of a queue each where nobody has; return whose each is."""
        return self._topology.claim(topics, owner)

    def release(self, topic: str) -> None:
        """Delete that queue."""
        self._topology.release(topic)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return none: AMQP lists no queues."""
        del topics
        return []

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Delete a group's queues."""
        self._topology.forget(topics, group)

    def close(self) -> None:
        """Nothing stays open."""


def open_transport(url: str, options: Mapping[str, str]) -> RabbitTransport:
    """Open the transport that a URL names."""
    return RabbitTransport(url, options)
