"""Apache Kafka, and whatever speaks its protocol (the embedded broker too, which has no admin API).

`kafka://host:9092,host2:9092`; options are librdkafka's. Nothing connects before it is used, and every process makes
its own: clients do not survive a fork.
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
from eventkit.transports.kafka.topics import KafkaTopics, Topic
from eventkit.transports.resumption import Resumption


class KafkaTransport:
    """See `Transport`."""

    flags: frozenset[Flag] = frozenset()

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = Address(url, options)
        self._topics = KafkaTopics(self._address)

    def publisher(self, *, to_listeners: bool = False) -> KafkaPublisher:  # noqa: ARG002 nobody is needed anyhow
        """Return a publisher that connects in the background."""
        return KafkaPublisher(self._address, self._topics)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> KafkaSubscription:
        """Join a group; TopicUnusable when a topic is missing."""
        found = self._topics.require(topics)
        places = Resumption({topic.name: topic.id or "" for topic in found}, resume)
        return KafkaSubscription(self._address, places, group, fetch_wait_ms=_fetch_wait(found))

    def listen(self, topics: Sequence[str]) -> KafkaListener:
        """Read all partitions from their ends on."""
        found = self._topics.require(topics)
        partitions = {topic.name: topic.partitions for topic in found}
        return KafkaListener(self._address, partitions, fetch_wait_ms=_fetch_wait(found))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create what is missing."""
        return self._topics.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions each topic has."""
        return {topic.name: topic.partitions for topic in self._topics.require(topics)}

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return who answers, for Kafka does not tell its release; ConfigurationError where a topic loses events."""
        cluster = self._topics.describe_cluster()
        refuse_losses(self.findings(topics))
        return f"Kafka at {self._address.hosts}, {cluster}, by librdkafka {libversion()[0]}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:
        """Return what the settings of topics mean for what the broker confirms."""
        told, address = self._topics.settings(topics), self._address
        judged = findings(told, topics, largest_event=address.largest_event, replicas=address.replicas)
        return [*judged, *of_offsets(self._topics.offsets_retention)]

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim topics by the metadata of an offset each where nobody has; return whose each is."""
        return claim(self._address, topics, owner)

    def release(self, topic: str) -> None:
        """Take a claim away."""
        release(self._address, topic)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups that have places in these topics, where the broker lists them."""
        return self._topics.groups(topics)

    def forget(self, topics: Sequence[str], group: str) -> None:  # noqa: ARG002 a group is one for all topics
        """Delete a group's offsets."""
        self._topics.forget(group)

    def close(self) -> None:
        """Let go of the connection that asks about topics."""
        self._topics.close()


def _fetch_wait(topics: Sequence[Topic]) -> int:
    """Return milliseconds: the embedded broker, which tells no ids, answers a waiting fetch only when they are over."""
    return 500 if all(topic.id is not None for topic in topics) else 10


def open_transport(url: str, options: Mapping[str, str]) -> KafkaTransport:
    """Open the transport that a URL names."""
    return KafkaTransport(url, options)
