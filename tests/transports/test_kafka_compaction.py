"""A topic that compaction has run over: it has the last event of each stream, offsets with holes, and deleted keys."""

import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from eventkit.config import Settings
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.transports import open_transport
from tests.hostile.reading import joined
from tests.projection.recorded import record
from tests.projection.shop import CREATE, checkpoints, letters, orders, projector, rows, totals
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.waiting import wait_until

Kafka = KafkaServer | GivenKafka
LONG = 60.0  # seconds
HOUR = 3_600_000  # milliseconds
KEPT = [*orders("order-1", 4), *orders("order-2", 2), *orders("order-3", 1)]
LEFT = (
    ["order-1", "order-2", "order-3"],
    ["order-9", "order-1", "order-2", "order-3"],
)  # a tombstone stays for a while
AT_ONCE = {
    "cleanup_policy": "compact", "segment_ms": "1000", "min_cleanable_dirty_ratio": "0.01", "delete_retention_ms": "0",
}  # fmt: skip


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the shop's read model."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic with the last events of three streams, those of a fourth deleted by a tombstone."""
    name = f"shop{uuid4().hex[:12]}.order"
    kafka.create_topic(name, partitions=1, **AT_ONCE)
    set_backoff(kafka, "200")
    producer, began = Producer({"bootstrap.servers": kafka.bootstrap}), int(time.time() * 1000) - HOUR
    deleted = orders("order-9", 2)
    for place, each in enumerate([*deleted, None, *KEPT]):  # a segment for each: they are seconds apart
        producer.produce(
            name,
            key=each.key if each else "order-9",
            value=each.value if each else None,
            headers=list(each.headers) if each else [],
            timestamp=began + 10_000 * place,
        )
        assert not producer.flush(LONG)
    wait_until(lambda: keys(kafka, name) in LEFT, timeout=LONG, what="the compaction")
    yield name
    set_backoff(kafka, None)


def set_backoff(kafka: Kafka, milliseconds: str | None) -> None:
    """Set how long the broker's cleaner waits between two looks; None is its default."""
    operation = AlterConfigOpType.DELETE if milliseconds is None else AlterConfigOpType.SET
    admin = kafka.admin()  # it must live until the answer is there
    for broker in admin.list_topics(timeout=LONG).brokers:
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        resource.add_incremental_config(
            ConfigEntry("log.cleaner.backoff.ms", milliseconds, incremental_operation=operation)
        )
        admin.incremental_alter_configs([resource])[resource].result(LONG)


def keys(kafka: Kafka, topic: str) -> list[str]:
    """Return the keys of all records that are left."""
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "nobody"})) as consumer:
        place = TopicPartition(topic, 0, 0)
        consumer.assign([place])
        _, end = consumer.get_watermark_offsets(place, timeout=LONG)
        found: list[str] = []
        offset = -1
        while offset < end - 1:
            for each in consumer.consume(100, 0.1):
                offset = each.offset() or 0
                found.append((each.key() or b"").decode())
        return found


def test_a_compacted_topic_is_read_with_the_stores_help(kafka: Kafka, url: str, topic: str) -> None:
    """By a projector, a rebuild from it, and a listener; the holes end nothing. A deleted stream does not come."""
    record(url, KEPT)
    with closing(open_transport(kafka.url)) as transport, closing(transport.listen([topic])) as listener:
        with joined(transport, topic) as source, projector(url) as running:
            wait_until(lambda: running.step(source) >= 0 and len(checkpoints(url)) == 3, timeout=LONG)
        new = Producer({"bootstrap.servers": kafka.bootstrap})
        for each in orders("order-4", 1):
            new.produce(topic, key=each.key, value=each.value, headers=list(each.headers), partition=0)
        assert not new.flush(LONG)
        heard = wait_until(lambda: listener.receive(10, 1), timeout=LONG, what="the listener to hear")

    assert rows(url, "select orders from totals") == [(7,)]
    assert checkpoints(url)["order-1"] == (4, False)
    assert letters(url) in ([], [("order-9", 0, "malformed")])  # the tombstone
    assert [message.key for message in heard or []] == ["order-4"]

    plan = RebuildPlan(from_transport=True, topics=(topic,))
    RebuildRun(totals(), Settings(database_url=url, transport_url=kafka.url), plan).run()
    assert rows(url, "select orders from totals") in ([(7,)], [(8,)])
