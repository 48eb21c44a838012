"""Whose relay sends to a topic: the metadata of an offset that nobody reads from, in a group of its own.

It needs no topic and no setting of the broker's. Kafka forgets the offsets of a group without members (after seven days
unless configured), so a claim is renewed while its relay runs. Two that claim at one moment both see the last one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventkit.errors import TransportError, TransportUnavailable
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState

GROUP = "eventkit.claims"
_PATIENCE = 10.0  # seconds that a question may take


def claim(address: Address, topics: Sequence[str], owner: str) -> dict[str, str]:
    """Claim topics that nobody has claimed, and renew what is the owner's; return whose each is."""
    with _claims(address) as consumer:
        known = consumer.list_topics(timeout=_PATIENCE).topics
        there = [topic for topic in topics if topic in known]
        found = _owners(consumer, there)
        free = [topic for topic in there if found.get(topic, owner) == owner]
        return found | _write(consumer, free, owner)


def release(address: Address, topic: str) -> None:
    """Take a claim away."""
    with _claims(address) as consumer:
        _write(consumer, [topic], "")


def _owners(consumer: Consumer, topics: Sequence[str]) -> dict[str, str]:
    if not topics:
        return {}
    found = consumer.committed([TopicPartition(topic, 0) for topic in topics], timeout=_PATIENCE)
    return {each.topic: str(each.metadata) for each in found if each.offset >= 0 and each.metadata}


def _write(consumer: Consumer, topics: Sequence[str], owner: str) -> dict[str, str]:
    """Write claims; return whose each of these topics is then."""
    if topics:
        consumer.commit(offsets=[TopicPartition(topic, 0, 0, owner) for topic in topics], asynchronous=False)
    return _owners(consumer, topics)


@contextmanager
def _claims(address: Address) -> Iterator[Consumer]:
    news = BrokerState(address, aloud=False)
    try:
        consumer = Consumer(address.properties(news, group_id=GROUP, enable_auto_commit="false"))
        try:
            yield consumer
        finally:
            consumer.close()
    except KafkaException as error:
        text = address.safe(error.args[0].str())
        if error.args[0].code() < 0:  # the client's own: nobody answered
            raise TransportUnavailable(f"Kafka at {address.hosts} does not answer: {text}") from None
        raise TransportError(f"topics cannot be claimed at Kafka: {text}") from None
