"""Kafka keeps the contract, on a real Apache Kafka; and its failures' effects on publishers and subscriptions."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewPartitions

from eventkit.domain.message import Message
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.errors import ConfigurationError, TransportError, TransportUnavailable
from eventkit.transports import Reports, Transport, open_transport
from eventkit.transports.kafka import KafkaTransport
from eventkit.transports.kafka.publisher import KafkaPublisher
from eventkit.transports.partition import murmur2, partition_of
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.transports.contract import TOO_LARGE, Refuser, TransportContract, fresh
from tests.transports.leaving import LeavingKafka
from tests.transports.traffic import (
    await_reports,
    deliver,
    in_order,
    message,
    messages,
    number,
    numbers_by_key,
    read,
    read_until,
    whole_story,
)
from tests.waiting import wait_until

Kafka = KafkaServer | GivenKafka
LIMIT = 20_000
OFFSET_COMMIT = 8  # Kafka's number of the request
REBALANCE_IN_PROGRESS = 27
SLOW_START = 120.0  # seconds: a JVM on a busy machine


@pytest.fixture
def transport(kafka: Kafka) -> Iterator[KafkaTransport]:
    """A transport to the session's Kafka."""
    with closing(LeavingKafka(kafka.url)) as transport:
        yield transport


@pytest.fixture
def unchecked(kafka: Kafka) -> Iterator[KafkaTransport]:
    """A transport whose client does not check sizes, so that the broker has to refuse large messages."""
    with closing(LeavingKafka(kafka.url, {"message.max.bytes": "1000000"})) as transport:
        yield transport


@pytest.fixture
def small_topic(kafka: Kafka) -> str:
    """A topic of two partitions that takes 20,000 bytes at a time."""
    name = fresh("small")
    kafka.create_topic(name, partitions=2, max_message_bytes=LIMIT)
    return name


@pytest.fixture
def refuser(kafka: Kafka) -> Refuser:
    """A topic that refuses large messages."""

    def make() -> str:
        name = fresh("small")
        kafka.create_topic(name, max_message_bytes=LIMIT)
        return name

    return make


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[KafkaServer]:
    """A Kafka of this module's own, to kill, to pause and to forbid things; the test that breaks it repairs it."""
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with KafkaServer(heap="512m", properties=rules) as server:
        yield server


class TestKafka(TransportContract):
    """`kafka://host:port`."""


def test_the_partition_of_a_key_is_that_of_the_java_client() -> None:
    """The hash agrees with Apache Kafka's own test vectors."""
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }

    assert {data: murmur2(data) for data in vectors} == {data: value & 0xFFFFFFFF for data, value in vectors.items()}


def test_messages_are_in_the_partition_that_every_other_client_expects(transport: KafkaTransport, kafka: Kafka) -> None:
    """The client's own murmur2 partitioner sends every key to the partition that we compute."""
    topic = transport.create_topics([fresh("keys")], partitions=7)[0]
    keys = ["order-1", "ørder-日本", "x", "", "order-" + "9" * 190]
    seen: dict[str, int] = {}
    other = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    for key in filter(None, keys):
        other.produce(topic, b"", key=key, on_delivery=lambda _, m: seen.update(_where(m)))
    other.flush(10)

    assert seen == {key: partition_of(key, 7) for key in filter(None, keys)}


def test_a_message_that_only_the_broker_finds_too_large_stops_its_partition(
    unchecked: KafkaTransport, small_topic: str
) -> None:
    """On a warm partition with batches in flight, the log ends before the culprit, which alone is named."""
    publisher = unchecked.publisher()
    deliver(publisher, [message(small_topic, "order-1", tag) for tag in range(10)])
    culprit = message(small_topic, "order-1", 500, size=TOO_LARGE)
    batch = [message(small_topic, "order-1", tag, size=200) for tag in range(10, 2_000)]
    batch[490] = culprit

    failed = deliver(publisher, batch)
    wait_until(
        lambda: _sends_no_more(publisher, small_topic, failed)
    )  # a relay that is slow to give up changes nothing
    story = whole_story(publisher, failed)

    assert story.refused.keys() == {500}
    assert story.refused[500].startswith("Broker:")
    log = _log(unchecked, small_topic)["order-1"]
    assert log == list(range(len(log)))
    assert set(story.confirmed) <= set(log)
    assert len(log) <= 500


@pytest.mark.parametrize("attempt", range(3))
def test_nothing_passes_a_refused_first_message_on_a_cold_partition(
    unchecked: KafkaTransport, small_topic: str, attempt: int
) -> None:
    """The first event of a partition goes alone: events behind a refused one never reach the log."""
    publisher = unchecked.publisher()
    culprit = message(small_topic, "order-1", 0, size=TOO_LARGE)

    story = whole_story(
        publisher,
        deliver(publisher, [culprit, *(message(small_topic, "order-1", tag, size=500) for tag in range(1, 500))]),
    )

    assert story.refused.keys() == {0}, attempt
    assert story.refused[0].startswith("Broker:")
    assert story.confirmed == []
    assert _log(unchecked, small_topic) == {}


def test_nothing_passes_a_message_that_the_client_refuses_on_a_warm_partition(
    kafka: Kafka, transport: KafkaTransport
) -> None:
    """A key's first message is refused on a partition that another key has warmed: its next one is not sent."""
    topic = fresh("warm")
    kafka.create_topic(topic, partitions=1, max_message_bytes=LIMIT)
    publisher = transport.publisher()
    deliver(publisher, [message(topic, "order-1", 0)])

    batch = [message(topic, "order-2", 1, size=TOO_LARGE), *(message(topic, "order-2", tag) for tag in range(2, 9))]
    story = whole_story(publisher, deliver(publisher, batch))

    assert story.refused.keys() == {1}
    assert story.confirmed == []
    assert set(_log(transport, topic)) == {"order-1"}


def test_a_raised_limit_is_the_next_publishers(kafka: Kafka, transport: KafkaTransport) -> None:
    """An operator lets an event through that was too large, while the process runs."""
    topic = fresh("raised")
    kafka.create_topic(topic, partitions=1, max_message_bytes=LIMIT)
    large = [message(topic, "order-1", 1, size=2 * LIMIT)]
    refused = transport.publisher()
    assert whole_story(refused, deliver(refused, large)).refused.keys() == {1}

    kafka.alter_topic(topic, max_message_bytes=10 * LIMIT)

    publisher = transport.publisher()
    assert deliver(publisher, large).confirmed == [1]
    publisher.close(1)


def test_one_refused_message_among_thousands_is_the_only_suspect(unchecked: KafkaTransport, small_topic: str) -> None:
    """A batch stays below the topic's limit, so that a refusal blames one event, not the whole batch."""
    publisher = unchecked.publisher()
    batch = messages(small_topic, 5_000, keys=100, size=100)
    batch[3_000] = message(small_topic, "order-1", 3_000, size=TOO_LARGE)

    story = whole_story(publisher, deliver(publisher, batch))

    assert story.refused.keys() == {3_000}
    assert story.refused[3_000].startswith("Broker:")


def test_cold_partitions_warm_up_together(transport: KafkaTransport) -> None:
    """Thousands of new keys cost a round trip a partition, all at once, not one a key."""
    topic = transport.create_topics([fresh("cold")], partitions=24)[0]
    publisher = transport.publisher()

    reports = deliver(publisher, messages(topic, 5_000, keys=5_000))

    assert len(reports.confirmed) == 5_000
    publisher.close(1)


def test_a_short_send_leaves_at_once(kafka: Kafka) -> None:
    """Batches gather where much is sent at once; a few messages leave now, however long the client may linger."""
    with closing(LeavingKafka(kafka.url, {"linger.ms": "300000"})) as transport:
        topic = transport.create_topics([fresh("short")], partitions=2)[0]
        publisher = transport.publisher()
        for sent in (range(3), range(3, 6)):  # behind the first of a cold partition, and on a warm one
            reports = deliver(publisher, [message(topic, "order-1", tag) for tag in sent])
            assert list(reports.confirmed) == list(sent)
        publisher.close(1)


def test_a_long_idle_partition_is_cold_again(transport: KafkaTransport, small_topic: str) -> None:
    """After an hour without messages the broker may have forgotten the producer: the first event goes alone again."""
    publisher = transport.publisher()
    deliver(publisher, [message(small_topic, "order-1", 0)])
    publisher._gates.cool()
    publisher._gates.cool()  # an hour and another one later

    publisher.send([message(small_topic, "order-1", tag) for tag in range(1, 4)])
    gate = publisher._gates.find(small_topic, "order-1")

    assert gate is not None
    assert (gate.probing, len(gate.waiting)) == (True, 2)
    assert sorted(await_reports(publisher, 3).confirmed) == [1, 2, 3]
    publisher.close(1)


def test_more_partitions_hold_the_topic(transport: KafkaTransport, kafka: Kafka) -> None:
    """With another count keys would move: the topic is held with a sentence, in this publisher and in the next."""
    topic = transport.create_topics([fresh("grown")], partitions=2)[0]
    publisher = KafkaPublisher(transport._address, transport._topics, topic_check_interval=0.2)
    deliver(publisher, messages(topic, 10))
    admin = kafka.admin()
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(60)

    story = wait_until(lambda: (reports := publisher.reports(0.2)).failed and reports)
    assert story
    again = whole_story(transport.publisher(), deliver(transport.publisher(), messages(topic, 1)))

    assert "3 partitions" in story.held[topic]
    assert "3 partitions" in again.held[topic]
    publisher.abandon()


def test_partitions_that_are_added_are_read_within_seconds(transport: KafkaTransport, kafka: Kafka) -> None:
    """By a group's members and by listeners; the client's own default is five minutes."""
    topic = transport.create_topics([fresh("split")], partitions=1)[0]
    readers = [transport.subscribe([topic], "group"), transport.listen([topic])]
    deliver(transport.publisher(), messages(topic, 20, keys=20))
    for reader in readers:
        read(reader, 20)

    admin = kafka.admin()
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(60)
    with closing(LeavingKafka(kafka.url)) as restarted:
        deliver(restarted.publisher(), messages(topic, 200, keys=40, start=20))

    for reader in readers:
        assert sorted(map(number, read(reader, 200))) == list(range(20, 220))


def test_a_recreated_topic_is_held(transport: KafkaTransport, kafka: Kafka) -> None:
    """A topic that was deleted and created again lost its confirmed messages: it is held with a sentence."""
    topic = transport.create_topics([fresh("anew")], partitions=2)[0]
    publisher = KafkaPublisher(transport._address, transport._topics, topic_check_interval=0.2)
    deliver(publisher, messages(topic, 10))
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=2)

    story = wait_until(lambda: (reports := publisher.reports(0.2)).failed and reports)

    assert story
    assert story.held.keys() == {topic}
    publisher.abandon()


def test_a_topic_that_may_not_be_written_is_held(own_kafka: KafkaServer) -> None:
    """A refused authorization is of the topic: no event is blamed."""
    transport = KafkaTransport(own_kafka.url, {})
    topic = transport.create_topics([fresh("forbidden")], partitions=2)[0]
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 100))
    _forbid_writing(own_kafka, topic)

    wait_until(lambda: deliver(publisher, messages(topic, 1_000, start=100)).failed, what="the refusal")
    story = whole_story(publisher, publisher.reports(0))

    assert story.held.keys() == {topic}
    assert story.refused == {}


def test_a_broker_killed_and_restarted_loses_nothing_confirmed(own_kafka: KafkaServer) -> None:
    """The publisher continues by itself, in order and without repeating, when a killed broker is back."""
    transport = KafkaTransport(own_kafka.url, {})
    topic = transport.create_topics([fresh("killed")], partitions=3)[0]
    publisher = KafkaPublisher(transport._address, transport._topics, report_timeout=SLOW_START)
    deliver(publisher, messages(topic, 1_000))

    publisher.send(messages(topic, 20_000, start=1_000))
    own_kafka.kill()
    silent = publisher.reports(0.5)
    own_kafka.start()
    rest = await_reports(publisher, 20_000 - len(silent.confirmed), timeout=SLOW_START)

    assert not silent.failed
    assert sorted(silent.confirmed + rest.confirmed) == list(range(1_000, 21_000))
    assert _log(transport, topic) == numbers_by_key(messages(topic, 21_000))
    publisher.close(1)


def test_a_silent_broker_is_given_up_within_the_patience(own_kafka: KafkaServer) -> None:
    """A hung broker ends the publisher, and neither `send`, `abandon` nor `close` hangs with it."""
    transport = KafkaTransport(own_kafka.url, {})
    topic = transport.create_topics([fresh("hung")], partitions=3)[0]
    publisher = KafkaPublisher(transport._address, transport._topics, report_timeout=2)
    deliver(publisher, messages(topic, 100))
    own_kafka.pause()

    publisher.send(messages(topic, 250_000, start=100))  # more than is taken over
    reports = wait_until(lambda: (known := publisher.reports(0.2)).failed and known)

    assert reports
    assert "no report for 2 s" in str(reports.lost)
    assert not reports.refused
    assert not reports.held
    publisher.abandon()  # while the broker is hung
    own_kafka.resume()


def test_events_wait_during_an_outage_and_are_sent_after_it(own_kafka: KafkaServer) -> None:
    """A publisher that was made during an outage sends its messages as soon as the broker answers."""
    topic = fresh("later")
    own_kafka.create_topic(topic)
    own_kafka.kill()
    transport = KafkaTransport(own_kafka.url, {})
    publisher = KafkaPublisher(transport._address, transport._topics, report_timeout=SLOW_START)

    publisher.send(messages(topic, 100))
    assert publisher.reports(1.0) == publisher.reports(0)
    own_kafka.start()

    assert sorted(await_reports(publisher, 100, timeout=SLOW_START).confirmed) == list(range(100))
    publisher.close(1)


def test_a_member_killed_with_9_leaves_its_messages_to_the_others(transport: KafkaTransport, kafka: Kafka) -> None:
    """Messages of a killed member come to another one after the session's time-out."""
    topic = transport.create_topics([fresh("member")], partitions=6)[0]
    group = fresh("group")
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 500))
    command = [sys.executable, "-m", "tests.transports.member", kafka.url, topic, group, "session.timeout.ms=6000"]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert victim.stdout
    while int(victim.stdout.readline() or 500) < 500:
        pass
    victim.kill()
    victim.wait()

    survivor = transport.subscribe([topic], group)
    received = read(survivor, 500)

    assert sorted(map(number, received)) == list(range(500))
    assert in_order(received)
    publisher.close(1)
    survivor.close()


def test_the_embedded_broker_will_do(embedded_kafka: EmbeddedKafka) -> None:
    """A broker without an admin API publishes and delivers, without waiting for answers that never come."""
    topic = fresh("embedded")
    embedded_kafka.create_topic(topic, 4)
    with closing(LeavingKafka(embedded_kafka.url)) as transport:
        publisher = transport.publisher()

        reports = deliver(publisher, messages(topic, 1_000))
        received = read(transport.subscribe([topic], "readers"), 1_000)

        assert sorted(reports.confirmed) == list(range(1_000))
        assert in_order(received)
        publisher.close(1)


def test_a_commit_that_the_broker_refuses_is_made_again(embedded_kafka: EmbeddedKafka) -> None:
    """While a group is rebalancing the broker takes no commits; acknowledged messages stay acknowledged."""
    topic, group = fresh("embedded"), fresh("group")
    embedded_kafka.create_topic(topic, 1)
    with closing(LeavingKafka(embedded_kafka.url)) as transport:
        publisher = transport.publisher()
        deliver(publisher, messages(topic, 10))
        first = transport.subscribe([topic], group)
        received = read(first, 10, acknowledge=False)
        embedded_kafka.push_request_errors(OFFSET_COMMIT, [REBALANCE_IN_PROGRESS])

        first.acknowledge(received)
        wait_until(lambda: first.receive(1, 0.05) == [] and _committed(transport, topic, group) == 10)
        deliver(publisher, messages(topic, 1, start=10))

        assert [number(each) for each in read(first, 1)] == [10]
        publisher.close(1)


def test_foreign_messages_without_key_value_and_headers_are_delivered(transport: KafkaTransport, kafka: Kafka) -> None:
    """Any message of a topic reaches the reader, who can tell that it is no event of eventkit's."""
    topic = transport.create_topics([fresh("foreign")], partitions=1)[0]
    foreign = Producer({"bootstrap.servers": kafka.bootstrap})
    foreign.produce(topic, None)
    foreign.produce(topic, b"{}", key=b"\xff\xfe", headers=[("h", None)])
    foreign.flush(10)
    subscription = transport.subscribe([topic], fresh("group"))

    received = read_until(subscription, lambda found: len(found) == 2)

    assert [(each.key, each.value) for each in received] == [("", b""), ("\\xff\\xfe", b"{}")]
    subscription.close()


def test_a_message_the_client_cannot_encode_is_refused(transport: KafkaTransport) -> None:
    """A text that is no UTF-8 is that event's fault."""
    topic = transport.create_topics([fresh("broken")], partitions=1)[0]
    publisher = transport.publisher()

    story = whole_story(publisher, deliver(publisher, [Message(topic, "order-1", "\ud800", [], 1)]))

    assert story.refused.keys() == {1}


def test_an_address_without_a_broker_is_a_one_sentence_error() -> None:
    """Checking and subscribing say who does not answer, and where to look."""
    transport = open_transport("kafka://127.0.0.1:1")

    with pytest.raises(
        TransportUnavailable, match=r"Kafka at 127\.0\.0\.1:1 does not answer: .*EVENTKIT_TRANSPORT_URL"
    ):
        transport.check()


def test_no_password_is_ever_shown() -> None:
    """Neither errors nor representations hold the password of the URL or the options."""
    transport = KafkaTransport("kafka://anna:s3cret@127.0.0.1:1", {"ssl_key_password": "hidden"})

    assert transport._address.properties(print)["sasl.password"] == "s3cret"
    assert transport._address.properties(print)["ssl.key.password"] == "hidden"
    assert "s3cret" not in repr(transport._address)
    assert transport._address.safe("wrong: s3cret, hidden") == "wrong: ***, ***"


@pytest.mark.parametrize("name", ["acks", "enable_idempotence", "message.timeout.ms", "Group.Id", "isolation.level"])
def test_settings_that_the_promises_need_are_no_options(name: str) -> None:
    """An option that would break order or durability is refused by name."""
    with pytest.raises(ConfigurationError, match=name.lower().replace("_", r"\.")):
        open_transport("kafka://localhost", {name: "1"})


def test_an_option_that_the_client_does_not_know_is_named() -> None:
    """A typing error in an option is a configuration error."""
    with pytest.raises(ConfigurationError, match=r"linger\.msec"):
        open_transport("kafka://localhost", {"linger.msec": "1"}).publisher()


@pytest.mark.parametrize("url", ["kafka://", "kafka://host/topic"])
def test_a_url_without_brokers_or_with_a_path_is_refused(url: str) -> None:
    """A Kafka URL names brokers, nothing else."""
    with pytest.raises(ConfigurationError, match="kafka://host:9092"):
        open_transport(url)


def _sends_no_more(publisher: KafkaPublisher, topic: str, story: Reports) -> bool:
    """Whether all clients are dead (then the rest stays in their queues), or have sent everything."""
    story.confirmed += publisher.reports(0).confirmed
    return all(not len(client) or _is_dead(client, topic) for client in publisher._clients._made.values())


def _is_dead(client: Producer, topic: str) -> bool:
    try:
        client.produce(topic, b"0:", key=b"probe", partition=1)
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError._FATAL)
    client.poll(0.01)
    return False


def test_a_group_with_members_stays(transport: Transport) -> None:
    """It is not removed under its members, and the error says why."""
    topic, group = transport.create_topics([fresh("kept")], partitions=1)[0], fresh("group")
    assert isinstance(transport, KafkaTransport)
    deliver(transport.publisher(), messages(topic, 1))
    member = transport.subscribe([topic], group)
    read(member, 1)

    with pytest.raises(TransportError, match=f"group '{group}' cannot be deleted: .*not empty"):
        transport.forget([topic], group)
    member.close()


def _committed(transport: Transport, topic: str, group: str) -> int:
    assert isinstance(transport, KafkaTransport)
    with closing(Consumer({**transport._address.properties(print), "group.id": group})) as onlooker:
        return onlooker.committed([TopicPartition(topic, 0)], timeout=60)[0].offset


def _where(delivery: Any) -> dict[str, int]:  # noqa: ANN401 the client's type has None for fields that are always there
    return {delivery.key().decode(): delivery.partition()}


def _log(transport: KafkaTransport, topic: str) -> dict[str, list[int]]:
    """Return the messages of a topic, by key, read to its end from outside."""
    with closing(transport.subscribe([topic], fresh("log"))) as subscription:
        reader = subscription._consumer
        partitions = reader.list_topics(topic, timeout=60).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        count = sum(reader.get_watermark_offsets(place, timeout=60)[1] for place in places)
        return numbers_by_key(read(subscription, count))


def _forbid_writing(server: KafkaServer, topic: str) -> None:
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:ANONYMOUS",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )
    admin = server.admin()
    for future in admin.create_acls([rule]).values():
        future.result(60)
