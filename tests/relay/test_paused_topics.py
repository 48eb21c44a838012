"""A paused topic's events stay in the outbox until it is resumed, whatever dies meanwhile; the others go on."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from eventkit.storage.pauses import Pauses
from tests.relay.conftest import Topic, append, read_along
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

Writer = psycopg.Connection[Any]
UNSENT = "select count(*) from eventkit.outbox where topic = %s"


@pytest.fixture
def operator(database_url: str) -> Iterator[Writer]:
    """An operator's connection."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(kafka: KafkaServer) -> Iterator[Topic]:
    """Another topic, which is not paused."""
    name = f"test.other{id(kafka)}"
    kafka.create_topic(name)
    with read_along(kafka.url, name) as reading:
        yield reading
    kafka.delete_topic(name)


def unsent(operator: Writer, topic: Topic) -> int:
    """Count the events of a topic in the outbox."""
    row = operator.execute(UNSENT, [topic.name]).fetchone()
    return int(row[0]) if row else -1


def write(writer: Writer, *topics: Topic, count: int) -> None:
    """Append so many events to each topic, over three streams of each, a transaction for each round."""
    for number in range(count):
        for topic in topics:
            append(writer, f"{topic.name.replace('.', '')}-{number % 3}", topic=topic.name)
        writer.commit()


def versions(topic: Topic) -> dict[str, list[int]]:
    """Return the versions of each stream in the order of arrival."""
    found: dict[str, list[int]] = {}
    for stream, version in topic.arrived:
        found.setdefault(stream, []).append(version)
    return found


def test_a_paused_topic_waits_in_the_outbox_and_the_others_go_on(
    writer: Writer, operator: Writer, topic: Topic, other: Topic, relay: RelayProcess
) -> None:
    """Paused between batches, resumed in order; nothing is lost or sent twice."""
    relay.says("holding")
    write(writer, topic, other, count=60)
    topic.has(1)
    Pauses(operator, "eventkit").pause("topic", topic.name, actor="ann", reason="a wrong price")
    write(writer, topic, other, count=60)

    relay.says(f"topic {topic.name} is paused by ann (a wrong price): its events stay in the outbox")
    write(writer, topic, other, count=60)
    other.has(180)
    wait_until(lambda: unsent(operator, other) == 0, what="the other topic's events")

    left = unsent(operator, topic)
    assert left >= 60
    topic.has(180 - left)
    Pauses(operator, "eventkit").resume("topic", topic.name, actor="ann")
    topic.has(180)
    wait_until(lambda: unsent(operator, topic) == 0, what="the resumed topic's events")
    assert versions(topic) == {stream: list(range(1, 61)) for stream in versions(topic)}
    assert len(topic.arrived) == 180
    assert relay.log().count("is paused by ann") == 1
    relay.says(f"topic {topic.name} is resumed")


def test_a_pause_outlives_a_killed_relay(
    writer: Writer, operator: Writer, topic: Topic, other: Topic, relay: RelayProcess
) -> None:
    """The next relay leaves the topic's events where they are, from its first read on."""
    write(writer, topic, count=3)
    topic.has(3)
    wait_until(lambda: unsent(operator, topic) == 0, what="the settlement")
    relay.kill()
    Pauses(operator, "eventkit").pause("topic", topic.name, actor="ann")
    write(writer, topic, other, count=30)

    with relay:
        other.has(30)
        wait_until(lambda: relay.log().count("is paused by ann") == 1, what="the first leader")
        relay.kill()
        with relay:
            wait_until(lambda: relay.log().count("is paused by ann") == 2, what="the next leader")
            assert unsent(operator, topic) == 30
            Pauses(operator, "eventkit").resume("topic", topic.name, actor="ann")
            topic.has(33)
    assert versions(topic) == {stream: list(range(1, 12)) for stream in versions(topic)}
