"""The report of the peers' benchmark on a topic, for topics with known faults."""

from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from benchmarks.openloop import STREAMS
from benchmarks.peers.delivered import PARTITIONS, Topic
from tests.servers import ServerFailed
from tests.servers.kafka import GivenKafka, KafkaServer


@pytest.fixture
def topic(kafka: KafkaServer | GivenKafka) -> Iterator[str]:
    """Lend a topic, and delete it."""
    name = f"delivered.{uuid4().hex[:8]}"
    kafka.create_topic(name, PARTITIONS, message_timestamp_type="LogAppendTime")
    yield name
    kafka.delete_topic(name)


def send(kafka: KafkaServer | GivenKafka, topic: str, numbers: Sequence[int], key: str = "order-{}") -> None:
    """Send events as a contestant would."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": "true"})
    for number in numbers:
        producer.produce(
            topic, f'{{"customer": "number-{number}-"}}', key.format(number % STREAMS), headers={"id": str(number)}
        )
    assert producer.flush(30) == 0


def test_missing_repeated_and_disordered_messages_are_counted(kafka: KafkaServer | GivenKafka, topic: str) -> None:
    """Of one stream 1, 2, 4, 3, 2 arrived where 1 to 5 were written; another stream is not mixed up with it."""
    stream = [7 + STREAMS * version for version in range(1, 6)]
    other = 8 + STREAMS
    send(kafka, topic, [stream[0], stream[1], other, stream[3], stream[2], stream[1], 42])

    with Topic(kafka.bootstrap, topic) as read:
        found = read.delivered({*stream, other})

    assert (found.events, found.missing, found.repeated, found.reordered, found.headers) == (5, 1, 1, 1, 1)


def test_an_event_without_its_streams_key_is_refused(kafka: KafkaServer | GivenKafka, topic: str) -> None:
    """Without the key it has no order, and the comparison would be worth nothing."""
    send(kafka, topic, [STREAMS], key="somebody-{}")

    with Topic(kafka.bootstrap, topic) as read, pytest.raises(ServerFailed, match="somebody-0"):
        read.delivered([STREAMS])
