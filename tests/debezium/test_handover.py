"""Debezium takes over from the relay and gives back, on real PostgreSQL, Kafka and Kafka Connect."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit import Catalog, EventStore
from eventkit.errors import StorageError
from eventkit.storage.debezium import Mode, Replication, Switch, slot_name, unsent_by_debezium
from eventkit.storage.schema import differences
from tests.debezium.campaign import HandOver, Writers, connector, received
from tests.debezium.test_mode import admin, finish  # noqa: F401 a fixture
from tests.servers.connect import ConnectServer
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, by_tcp
from tests.waiting import wait_until

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Noted:
    """Something was noted."""

    number: int
    text: str = ""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """A Kafka for this module."""
    with KafkaServer(heap="512m") as kafka:
        yield kafka


@pytest.fixture(scope="module")
def worker(broker: KafkaServer) -> Iterator[ConnectServer]:
    """A Kafka Connect for this module."""
    with ConnectServer(broker.bootstrap) as connect:
        yield connect


@pytest.fixture
def name(
    admin: Connection,  # noqa: F811
    database_url: str,
    postgres: PostgresServer,
    broker: KafkaServer,
    worker: ConnectServer,
) -> Iterator[str]:
    """The name of a connector that sends the events of the test's database."""
    wanted = connector(by_tcp(database_url, postgres.url), broker)
    worker.create(wanted)
    finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM)
    yield wanted["name"]
    worker.delete(wanted["name"])


class Notes:
    """Events of a catalog of a test's own, with a topic of one partition."""

    def __init__(self, url: str, broker: KafkaServer, name: str) -> None:
        self._url, self._broker = url, broker
        self._catalog = Catalog(name)
        self._catalog.event(Noted)
        self._store = EventStore(self._catalog)
        self._written: list[str] = []
        self.topic = self._catalog.topic("order-1")
        broker.create_topic(self.topic, 1)

    def write(self) -> None:
        """Append an event, and commit."""
        with psycopg.connect(self._url) as session:
            number = len(self._written)
            done = self._store.append(session, self._catalog.stream("order", number % 3), Noted(number))
        self._written += map(str, done.ids)

    def are_sent(self) -> bool:
        """Return whether the topic has each event, once, in order."""
        return [dict(found[2])["ce_id"] for found in received(self._broker, self.topic, 1)] == self._written


def test_debezium_takes_over_and_gives_back_while_writers_run(
    postgres: PostgresServer, database_url: str, tmp_path: Path, broker: KafkaServer, worker: ConnectServer
) -> None:
    """No event is lost or first delivered out of order, the messages are the relay's, and the read model is exact.

    Switches are killed and turned back, Connect is killed with -9, and one transaction is open across a switch.
    """
    url = by_tcp(database_url, postgres.url)
    campaign = HandOver(url, broker, worker, tmp_path)

    outcome = campaign.run(Writers(url, count=2, streams=20, pause=0.02), step=100)

    assert outcome.clean, outcome
    assert min(outcome.by_mode.values()) > 0
    assert differences(url, "eventkit") == []


@pytest.mark.usefixtures("name")
def test_a_switch_in_a_quiet_database_ends_by_itself(
    admin: Connection,  # noqa: F811
    database_url: str,
    broker: KafkaServer,
) -> None:
    """Debezium confirms the last event without a later one: for pruning, and for a switch, which repeats nothing."""
    notes = Notes(database_url, broker, "quiet")
    notes.write()
    wait_until(lambda: unsent_by_debezium(admin, "eventkit", patience=0) is None, what="the confirmation")
    notes.write()

    finish(Switch(admin, "eventkit", actor="me"), Mode.RELAY)

    assert notes.are_sent()


def test_a_connector_without_its_slot_waits_for_an_operator(
    admin: Connection,  # noqa: F811
    database_url: str,
    broker: KafkaServer,
    worker: ConnectServer,
    name: str,
) -> None:
    """It would create another slot, and leave out the events between: it says so, and `db mode` names the remedy."""
    notes = Notes(database_url, broker, "slotless")
    notes.write()
    wait_until(notes.are_sent, what="the first event")
    worker.ask("PUT", f"/connectors/{name}/stop")
    replication = Replication(admin, "eventkit", slot_name(admin, "eventkit"))
    wait_until(replication.drop, what="the end of the slot")
    notes.write()

    worker.ask("PUT", f"/connectors/{name}/resume")
    wait_until(lambda: f"{replication.name} is gone" in worker.log, what="the error in Connect's log")

    assert replication.look() is None
    with pytest.raises(StorageError, match="--again-since"):
        finish(Switch(admin, "eventkit", actor="me"), Mode.RELAY)
