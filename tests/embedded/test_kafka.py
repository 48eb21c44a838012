"""The embedded Kafka: topics, groups and faults, also for other processes."""

import socket
import subprocess
import sys
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.errors import EmbeddedUnavailable
from tests.waiting import wait_until

TOO_LARGE = 10
PRODUCE = 0
PRODUCER = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "enable.idempotence": True})
for number in range(int(sys.argv[2])):
    producer.produce("orders", str(number), str(number), headers={"n": str(number)})
sys.exit(producer.flush(30))
"""


def test_a_topic_has_the_requested_partitions(embedded_kafka: EmbeddedKafka) -> None:
    """Six unless said otherwise."""
    embedded_kafka.create_topic("orders")
    embedded_kafka.create_topic("payments", partitions=3)

    topics = _producer(embedded_kafka).list_topics(timeout=60).topics

    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"orders": 6, "payments": 3}


def test_a_topic_is_created_once(embedded_kafka: EmbeddedKafka) -> None:
    """The second time is refused with the broker's reason."""
    embedded_kafka.create_topic("orders")

    with pytest.raises(EmbeddedUnavailable, match="could not create topic 'orders': Broker: Topic already exists"):
        embedded_kafka.create_topic("orders")


def test_a_group_shares_the_messages_of_another_process(embedded_kafka: EmbeddedKafka) -> None:
    """Two consumers of a group get every message once between them, each its part."""
    embedded_kafka.create_topic("orders")
    seen: list[list[str]] = [[], []]
    with closing(_consumer(embedded_kafka)) as first, closing(_consumer(embedded_kafka)) as second:
        consumers = [first, second]
        wait_until(lambda: _partitions(consumers) == [3, 3], timeout=60, what="three partitions each")

        subprocess.run([sys.executable, "-c", PRODUCER, embedded_kafka.bootstrap, "300"], check=True)

        wait_until(lambda: _read(consumers, seen) == 300, timeout=60, what="300 messages")
    assert sorted(map(int, seen[0] + seen[1])) == list(range(300))
    assert all(seen)


def test_a_broker_that_was_down_takes_the_backlog(embedded_kafka: EmbeddedKafka) -> None:
    """Nothing is acknowledged while it is down, everything after it is back."""
    embedded_kafka.create_topic("orders")
    producer = _producer(embedded_kafka)
    embedded_kafka.set_down()

    producer.produce("orders", b"1")
    assert producer.flush(0.5) == 1
    embedded_kafka.set_up()

    assert producer.flush(30) == 0


def test_errors_can_be_injected(embedded_kafka: EmbeddedKafka) -> None:
    """The next produce request gets the error code that was pushed."""
    embedded_kafka.create_topic("orders")
    reports: list[KafkaError | None] = []
    producer = _producer(embedded_kafka)

    embedded_kafka.push_request_errors(PRODUCE, [TOO_LARGE])
    for _ in range(2):
        producer.produce("orders", b"1", on_delivery=lambda error, _message: reports.append(error))
        producer.flush(30)

    assert [error.code() if error else None for error in reports] == [TOO_LARGE, None]


def test_two_clusters_run_beside_each_other(embedded_kafka: EmbeddedKafka) -> None:
    """A topic of one is unknown to the other."""
    with EmbeddedKafka() as other:
        embedded_kafka.create_topic("orders")

        assert other.url != embedded_kafka.url
        assert _producer(other).list_topics(timeout=60).topics == {}


def test_the_port_of_a_stopped_cluster_is_free() -> None:
    """Nobody listens after the stop."""
    with EmbeddedKafka() as broker:
        host, port = broker.bootstrap.split(":")

    with socket.socket() as client:
        assert client.connect_ex((host, int(port))) != 0


def test_a_cluster_that_is_not_started_says_so() -> None:
    """Use before the start is refused with the remedy."""
    with pytest.raises(EmbeddedUnavailable, match=r"call start\(\)"):
        EmbeddedKafka().create_topic("orders")


def _producer(broker: EmbeddedKafka) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def _consumer(broker: EmbeddedKafka) -> Consumer:
    timing = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}
    settings = {"group.id": "g", "auto.offset.reset": "earliest", "log_level": 0, **timing}
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, **settings})
    consumer.subscribe(["orders"])
    return consumer


def _partitions(consumers: list[Consumer]) -> list[int]:
    for consumer in consumers:
        assert consumer.poll(0.01) is None
    return [len(consumer.assignment()) for consumer in consumers]


def _read(consumers: list[Consumer], seen: list[list[str]]) -> int:
    for consumer, values in zip(consumers, seen, strict=True):
        values.extend(
            (message.value() or b"").decode() for message in consumer.consume(100, 0.02) if not message.error()
        )
    return sum(map(len, seen))
