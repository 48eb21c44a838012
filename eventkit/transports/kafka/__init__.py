"""Apache Kafka, and brokers with its protocol (the embedded broker too, which has no admin API).

`kafka://host:9092,host2:9092`; options are librdkafka's. Clients connect at their first use. Every process makes its
own clients, because a client does not survive a fork.
"""

from collections.abc import Mapping, Sequence

from confluent_kafka import libversion

from eventkit.transports.base import Finding, Flag, Resume, refuse_losses
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_settings import findings, of_offsets
from eventkit.transports.kafka.claims import claim, release
from eventkit.transports.kafka.listener import KafkaListener
from eventkit.transports.kafka.publisher import KafkaPublisher
from eventkit.transports.kafka.subscription import KafkaSubscription
from eventkit.transports.kafka.topic_watcher import IdentityWatcher
from eventkit.transports.kafka.topics import KafkaTopics, Topic
from eventkit.transports.resumption import Resumption


class KafkaTransport:
    """See `Transport`."""

    flags: frozenset[Flag] = frozenset()
    system = "kafka"

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = Address(url, options)
        self._topics = KafkaTopics(self._address)

    def publisher(self, *, to_listeners: bool = False) -> KafkaPublisher:  # noqa: ARG002 it needs no listener
        """Return a publisher that connects in the background."""
        return KafkaPublisher(self._address, self._topics)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> KafkaSubscription:
        """See `Transport.subscribe`."""
        found = self._topics.require(topics)
        ids = {topic.name: topic.id or "" for topic in found}
        watcher = IdentityWatcher(self._topics, ids) if resume and all(ids.values()) else None
        places, wait = Resumption(ids, resume), _fetch_wait(found)
        return KafkaSubscription(self._address, places, group, fetch_wait_ms=wait, identities=watcher)

    def listen(self, topics: Sequence[str]) -> KafkaListener:
        """Return a reader of all partitions, from their ends on."""
        found = self._topics.require(topics)
        partitions = {topic.name: topic.partitions for topic in found}
        return KafkaListener(self._address, partitions, fetch_wait_ms=_fetch_wait(found))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        return self._topics.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions each topic has."""
        return {topic.name: topic.partitions for topic in self._topics.require(topics)}

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return a line with the hosts and the number of brokers; Kafka does not report its release.

        ConfigurationError when a topic's settings lose events.
        """
        cluster = self._topics.describe_cluster()
        refuse_losses(self.findings(topics))
        return f"Kafka at {self._address.hosts}, {cluster}, by librdkafka {libversion()[0]}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:
        """Return the settings of topics that decide whether confirmed messages are safe."""
        settings, address = self._topics.settings(topics), self._address
        found = findings(settings, topics, largest_event=address.largest_event, replicas=address.replicas)
        return [*found, *of_offsets(self._topics.offsets_retention)]

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics by the metadata of an offset each; return the owner of each."""
        return claim(self._address, topics, owner)

    def release(self, topic: str) -> None:
        """Remove a claim."""
        release(self._address, topic)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups that have offsets in these topics, if the broker lists groups."""
        return self._topics.groups(topics)

    def forget(self, topics: Sequence[str], group: str) -> None:  # noqa: ARG002 a group is one for all topics
        """Delete a group's offsets."""
        self._topics.forget(group)

    def close(self) -> None:
        """Close the connection for questions about topics."""
        self._topics.close()


def _fetch_wait(topics: Sequence[Topic]) -> int:
    """Return `fetch.wait.max.ms`: the embedded broker, which reports no topic ids, always waits for all of it."""
    return 500 if all(topic.id is not None for topic in topics) else 10


def open_transport(url: str, options: Mapping[str, str]) -> KafkaTransport:
    """Open the transport that a URL names."""
    return KafkaTransport(url, options)
