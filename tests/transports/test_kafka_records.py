"""Records and topics of Kafka as other programs leave them: transactions, compression, deleted records, new topics."""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer, TopicPartition

from eventkit.errors import TopicUnusable
from eventkit.projection.run.resume import Begin
from eventkit.projection.run.sources import TransportSource
from eventkit.transports import open_transport
from eventkit.transports.base import Range
from eventkit.transports.kafka import KafkaTransport, topic_watcher
from eventkit.transports.kafka.subscription import KafkaSubscription
from tests.hostile.foreign import Foreign
from tests.hostile.kinds import event
from tests.hostile.reading import joined
from tests.projection.shop import CREATE, checkpoints, letters, projector, rows
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.transports.leaving import LeavingKafka
from tests.transports.traffic import read_until
from tests.waiting import wait_until

Kafka = KafkaServer | GivenKafka
LONG = 60.0  # seconds


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the shop's read model."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic of one partition."""
    name = f"shop{uuid4().hex[:12]}.order"
    kafka.create_topic(name, partitions=1)
    return name


def ordered(stream: str, version: int, customer: str = "ann") -> Foreign:
    """Return an order of another program."""
    return event(stream, version, b'{"customer": "%s", "amount": 1}' % customer.encode())


def put(producer: Producer, topic: str, *events: Foreign) -> None:
    """Send events, and wait until the broker has them."""
    for each in events:
        producer.produce(topic, key=each.key, value=each.value, headers=list(each.headers), partition=0)
    assert not producer.flush(LONG)


def writer(kafka: Kafka, **config: str) -> Producer:
    """Return a producer; names have `_` for `.`."""
    return Producer({"bootstrap.servers": kafka.bootstrap} | {k.replace("_", "."): v for k, v in config.items()})


def transact(producer: Producer, topic: str, *events: Foreign, commit: bool) -> None:
    """Send events in a transaction."""
    producer.begin_transaction()
    put(producer, topic, *events)
    if commit:
        producer.commit_transaction(LONG)
    else:
        producer.abort_transaction(LONG)


def test_only_events_of_committed_transactions_are_applied(kafka: Kafka, url: str, topic: str) -> None:
    """Aborted ones never were; those of an open one, and all behind it, come with its end. A restart repeats none."""
    producer = writer(kafka, transactional_id=topic)
    producer.init_transactions(LONG)
    transport = open_transport(kafka.url)
    with joined(transport, topic) as source, projector(url) as running:
        transact(producer, topic, ordered("order-1", 1), ordered("order-1", 2), commit=True)
        transact(producer, topic, ordered("order-1", 3, "ghost"), ordered("order-2", 1, "ghost"), commit=False)
        transact(producer, topic, ordered("order-1", 3), ordered("order-2", 1), commit=True)
        producer.begin_transaction()
        put(producer, topic, ordered("order-3", 1))
        put(writer(kafka), topic, ordered("order-4", 1))
        wait_until(lambda: running.step(source) >= 0 and len(checkpoints(url)) == 2, timeout=LONG)
        producer.commit_transaction(LONG)
        wait_until(lambda: running.step(source) >= 0 and len(checkpoints(url)) == 4, timeout=LONG)

    with projector(url) as again:
        source = TransportSource(transport.subscribe([topic], again.group, resume=again.resume_points(Begin.REFUSE)))
        transact(producer, topic, ordered("order-1", 4), commit=True)
        wait_until(lambda: again.step(source) >= 0 and checkpoints(url)["order-1"][0] == 4, timeout=LONG)
        source.close()

    assert rows(url, "select customer, orders from totals") == [("ann", 7)]
    assert checkpoints(url) == {f"order-{n}": (version, False) for n, version in enumerate([4, 1, 1, 1], 1)}
    assert letters(url) == []
    transport.close()


def test_batches_of_any_compression_are_read(kafka: Kafka, url: str, topic: str) -> None:
    """As other programs' clients are configured."""
    transport = open_transport(kafka.url)
    kinds = ["none", "gzip", "snappy", "lz4", "zstd"]
    with joined(transport, topic) as source, projector(url) as running:
        for kind in kinds:
            events = [ordered(f"order-{kind}", version) for version in range(1, 21)]
            put(writer(kafka, compression_type=kind, linger_ms="50"), topic, *events)
        wait_until(lambda: running.step(source) >= 0 and running.counters.applied == 100, timeout=LONG)

    assert checkpoints(url) == {f"order-{kind}": (20, False) for kind in kinds}
    transport.close()


def from_first(ranges: Sequence[Range]) -> Mapping[tuple[str, int], tuple[int, ...]]:
    """Resume each shard at its first message."""
    return {each.key: each.low for each in ranges}


def test_messages_that_are_deleted_before_they_are_read_end_the_reading(kafka: Kafka, topic: str) -> None:
    """The client would read on behind them; a projector has to take them from the store."""
    producer = writer(kafka)
    put(producer, topic, *[ordered("order-1", version) for version in range(1, 4)])
    with closing(LeavingKafka(kafka.url)) as transport:
        subscription = subscribed(transport, topic)
        read_until(subscription, lambda found: len(found) == 3)
        place = TopicPartition(topic, 0)
        subscription._consumer.pause([place])  # as a slow member whose client has read nothing ahead
        put(producer, topic, *[ordered("order-2", version) for version in range(1, 6)])
        delete_records(kafka, topic, 6)
        subscription._consumer.resume([place])

        with pytest.raises(TopicUnusable, match="its next message is gone: retention deleted it"):
            read_until(subscription, bool)
        again = subscribed(transport, topic)
        assert [message.key for message in read_until(again, lambda found: len(found) == 2)] == ["order-2"] * 2


def test_a_recreated_topic_is_read_from_its_first_message(
    kafka: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a member that was reading the deleted one, with more messages than that had, or fewer."""
    monkeypatch.setattr(topic_watcher, "IDENTITY_INTERVAL", 0.2)
    with closing(LeavingKafka(kafka.url)) as transport:
        subscription = subscribed(transport, topic)
        for round_, count in enumerate([3, 8, 2]):
            if round_:
                kafka.delete_topic(topic)
                kafka.create_topic(topic, partitions=1)
            events = [ordered(f"order-{round_}", version) for version in range(1, count + 1)]
            put(writer(kafka), topic, *events)
            subscription = read_all(transport, topic, subscription, events)


def read_all(
    transport: KafkaTransport, topic: str, subscription: KafkaSubscription, events: Sequence[Foreign]
) -> KafkaSubscription:
    """Read until all events are there, and join again after an error, as a projector does; return the last member."""
    wanted = {dict(each.headers)["ce_id"].encode() for each in events}
    found: set[Any] = set()

    def missing() -> set[Any]:
        nonlocal subscription
        try:
            found.update(dict(message.headers)["ce_id"] for message in subscription.receive(100, 0.2))
        except TopicUnusable:
            subscription.close()
            again = wait_until(lambda: joined_again(transport, topic), timeout=LONG)
            assert again is not None
            subscription = again
        return wanted - found

    wait_until(lambda: not missing(), timeout=LONG, what=f"{len(wanted)} messages")
    return subscription


def joined_again(transport: KafkaTransport, topic: str) -> KafkaSubscription | None:
    """Join; return None while the broker does not know the topic yet."""
    with suppress(TopicUnusable):
        return subscribed(transport, topic)
    return None


def subscribed(transport: KafkaTransport, topic: str) -> KafkaSubscription:
    """Join a group of its own, which keeps its places itself."""
    return transport.subscribe([topic], f"g{uuid4().hex[:12]}", resume=from_first)


def delete_records(kafka: Kafka, topic: str, before: int) -> None:
    """Delete the records before an offset, as retention does."""
    admin = kafka.admin()
    [answer] = admin.delete_records([TopicPartition(topic, 0, before)]).values()
    answer.result(LONG)
