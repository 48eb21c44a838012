"""The relay's letters with a relay that runs and a real Kafka: redriven, edited, discarded, always in order."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from eventkit.domain.message import Message
from eventkit.storage.dead_letters.actions import TOMBSTONE, LetterActions
from eventkit.storage.dead_letters.query import LetterFilter, LetterQuery
from eventkit.storage.dead_letters.redrive import RedriveRequests
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.transports import open_transport
from tests.relay.conftest import Topic, append
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

Writer = psycopg.Connection[Any]
BIG = "x" * 1_200_000


def test_a_redrive_sends_the_stream_in_order_when_the_broker_takes_it(
    writer: Writer, database_url: str, kafka: KafkaServer, topic: Topic, relay: RelayProcess, outbox: Callable[[], int]
) -> None:
    """The topic's limit is raised, the letter redriven: waiting events come in order, other streams never waited."""
    kafka.alter_topic(topic.name, max_message_bytes=20_000)
    relay.says("holding")
    for number in range(30):
        append(writer, f"order-{number % 3}", topic=topic.name, text="x" * 60_000 if number == 6 else "")
    writer.commit()
    wait_until(lambda: _letters(database_url), timeout=60, what="a dead letter")
    _redrive(database_url)  # too early: parked again
    for _ in range(5):
        append(writer, "order-0", topic=topic.name)
    writer.commit()
    wait_until(lambda: _letters(database_url), timeout=60, what="the dead letter again")
    kafka.alter_topic(topic.name, max_message_bytes=1_000_000)

    _redrive(database_url)

    arrived = topic.has(35, timeout=60)
    wait_until(lambda: outbox() == 0, timeout=60, what="an empty outbox")
    for number, count in enumerate((15, 10, 10)):
        versions = [version for stream, version in dict.fromkeys(arrived) if stream == f"order-{number}"]
        assert versions == list(range(1, count + 1))


def test_a_discarded_event_is_published_as_a_tombstone_in_its_versions_place(
    writer: Writer, database_url: str, topic: Topic, kafka: KafkaServer, relay: RelayProcess
) -> None:
    """With the id of the event that it replaces; an edited one with its new data; repairs read the same."""
    relay.says("holding")
    for number in range(6):
        append(writer, "order-0", topic=topic.name, text=BIG if number in (1, 3) else str(number))
    writer.commit()
    (letter,) = wait_until(lambda: _letters(database_url), timeout=60, what="a dead letter")
    with psycopg.connect(database_url, autocommit=True) as connection:
        LetterActions(connection, "eventkit", actor="ann").discard("relay", "order-0", [letter.id])
    (other,) = wait_until(lambda: _letters(database_url, version=4), timeout=60, what="the next dead letter")
    with psycopg.connect(database_url, autocommit=True) as connection:
        LetterActions(connection, "eventkit", actor="ann").edit(other.id, "relay", "order-0", '{"text": "short"}')

    messages: dict[int, Message] = {}
    with (
        closing(open_transport(kafka.url)) as transport,
        closing(transport.subscribe([topic.name], "another reader")) as reading,
    ):

        def read() -> bool:
            messages.update({int(dict(m.headers)["ce_streamversion"]): m for m in reading.receive(100, 0.1)})
            return len(messages) == 6

        wait_until(read, timeout=60, what="six versions")
    headers = dict(messages[2].headers)
    assert (headers["ce_type"], headers["ce_id"]) == (TOMBSTONE.encode(), str(letter.event_id).encode())
    assert (messages[2].value, messages[4].value) == (b'{"type": "Happened"}', b'{"text": "short"}')
    assert list(dict.fromkeys(topic.has(6))) == [("order-0", version) for version in range(1, 7)]
    with psycopg.connect(database_url, options="-c TimeZone=UTC") as connection:  # as eventkit's own sessions have it
        repaired = OwnHistory(connection, "eventkit").between("order-0", 0, 7, limit=10)
    assert [_parts(m) for m in repaired] == [_parts(messages[version]) for version in range(1, 7)]


def _parts(message: Message) -> tuple[list[tuple[str, bytes]], bytes]:
    return [(name, _bytes(value)) for name, value in message.headers], _bytes(message.value)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _letters(url: str, *, version: int = 0) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = LetterQuery(connection, "eventkit").list(LetterFilter(by="relay"))
    return [letter for letter in found if not version or letter.version == version]


def _redrive(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        choice = LetterQuery(connection, "eventkit").choose(LetterFilter(by="relay"))
        assert RedriveRequests(connection, "eventkit", actor="ann").redrive(choice) == (0, 1)
