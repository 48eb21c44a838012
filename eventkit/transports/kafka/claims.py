"""Records the relay that owns a topic, as the metadata of an unused offset in the consumer group `eventkit.claims`.

This needs no extra topic and no broker setting. Kafka forgets the offsets of a group without members (after seven days
by default), so a running relay renews its claim. Two relays that claim at the same moment both see the last claim.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventkit.errors import TransportError, TransportUnavailable
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState

GROUP = "eventkit.claims"
_REQUEST_TIMEOUT = 10.0  # seconds


def claim(address: Address, topics: Sequence[str], owner: str) -> dict[str, str]:
    """Claim the unclaimed topics and renew the owner's claims; return the owner of each topic."""
    with _claims(address) as consumer:
        known = consumer.list_topics(timeout=_REQUEST_TIMEOUT).topics
        there = [topic for topic in topics if topic in known]
        found = _owners(consumer, there)
        free = [topic for topic in there if found.get(topic, owner) == owner]
        return found | _write(consumer, free, owner)


def release(address: Address, topic: str) -> None:
    """Remove a claim."""
    with _claims(address) as consumer:
        _write(consumer, [topic], "")


def _owners(consumer: Consumer, topics: Sequence[str]) -> dict[str, str]:
    if not topics:
        return {}
    found = consumer.committed([TopicPartition(topic, 0) for topic in topics], timeout=_REQUEST_TIMEOUT)
    return {each.topic: str(each.metadata) for each in found if each.offset >= 0 and each.metadata}


def _write(consumer: Consumer, topics: Sequence[str], owner: str) -> dict[str, str]:
    """Write claims; return the owner of each topic afterwards."""
    if topics:
        consumer.commit(offsets=[TopicPartition(topic, 0, 0, owner) for topic in topics], asynchronous=False)
    return _owners(consumer, topics)


@contextmanager
def _claims(address: Address) -> Iterator[Consumer]:
    state = BrokerState(address, warn=False)
    try:
        consumer = Consumer(address.properties(state, group_id=GROUP, enable_auto_commit="false"))
        try:
            yield consumer
        finally:
            consumer.close()
    except KafkaException as error:
        text = address.safe(error.args[0].str())
        if error.args[0].code() < 0:  # the client's own error: no broker answered
            raise TransportUnavailable(f"Kafka at {address.hosts} does not answer: {text}") from None
        raise TransportError(f"topics cannot be claimed at Kafka: {text}") from None
