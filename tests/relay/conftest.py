"""Shared fixtures of the relay's tests: a database with events in its outbox, connections, a relay and a topic."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.outbox import READING
from eventkit.transports import Subscription, open_transport
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

Connect = Callable[[str], psycopg.Connection[Any]]

APPEND = """
with place as (
  insert into eventkit.streams (stream, version) values (%(stream)s, 1)
  on conflict (stream) do update set version = streams.version + 1 returning version
), event as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select gen_random_uuid(), 'shop', %(stream)s, version, 'Happened', 1, jsonb_build_object('text', %(text)s::text), '{}'
    from place returning position
)
insert into eventkit.outbox (position, topic, shard, bytes) select position, %(topic)s, %(shard)s, 50 from event
returning position
"""


@pytest.fixture
def relay_connection(database_url: str) -> Connect:
    """Open connections as the relay process does."""
    return lambda name: connect(database_url, name=name, autocommit=True, options=READING)


@pytest.fixture
def writer(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A service's connection."""
    with psycopg.connect(database_url) as connection:
        yield connection


def append(
    writer: psycopg.Connection[Any], stream: str, *, text: str = "", topic: str = "shop.order", shard: int = 0
) -> int:
    """Append one event without the catalog; return its position."""
    row = writer.execute(APPEND, {"stream": stream, "text": text, "topic": topic, "shard": shard}).fetchone()
    assert row is not None
    return int(row[0])


class Topic:
    """The messages of a topic: stream and version of each event, in order of arrival."""

    def __init__(self, subscription: Subscription, name: str) -> None:
        self.name = name
        self.arrived: list[tuple[str, int]] = []
        self._subscription = subscription

    def has(self, count: int, *, timeout: float = 60) -> list[tuple[str, int]]:
        """Wait for that many events and return them."""
        wait_until(lambda: self._read() >= count, timeout=timeout, what=f"{count} events in {self.name}")
        return self.arrived

    def _read(self) -> int:
        for message in self._subscription.receive(1_000, 0.05):
            version = dict(message.headers)["ce_streamversion"]
            self.arrived.append((message.key, int(version)))
        return len(self.arrived)


@contextmanager
def read_along(url: str, name: str) -> Iterator[Topic]:
    """Lend the messages of a topic from its beginning on."""
    with (
        closing(open_transport(url)) as transport,
        closing(transport.subscribe([name], f"reader of {name}")) as subscription,
    ):
        yield Topic(subscription, name)


@pytest.fixture
def topic(kafka: KafkaServer, kafka_topic: str) -> Iterator[Topic]:
    """A fresh topic that is read along."""
    with read_along(kafka.url, kafka_topic) as reading:
        yield reading


@pytest.fixture
def relay(database_url: str, kafka: KafkaServer, tmp_path: Path) -> Iterator[RelayProcess]:
    """A relay that runs."""
    with RelayProcess(database_url, kafka.url, tmp_path / "relay.log") as process:
        yield process


@pytest.fixture
def outbox(writer: psycopg.Connection[Any]) -> Callable[[], int]:
    """Count unsent events."""

    def count() -> int:
        writer.rollback()
        row = writer.execute("select count(*) from eventkit.outbox").fetchone()
        writer.rollback()
        return int(row[0]) if row else -1

    return count
