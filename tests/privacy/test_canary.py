"""The canary: a text that stands in personal data alone is looked for in everything that eventkit writes anywhere.

Real processes on a real PostgreSQL and a real Kafka: appends, a snapshot, a deadline, the relay, a projection that
folds and one that fails; then its subject is forgotten and the read model folded again.
"""

import datetime as dt
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from eventkit import EventStore, Repository, Snapshots
from eventkit.domain.master_keys import MasterKeys
from eventkit.messaging.deadlines import Deadlines
from eventkit.transports.base import open_transport
from tests.aggregates.test_personal_snapshots import Customers, customer
from tests.privacy.people import CREATE
from tests.projection.shop import rows
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.storage.people import Address, Ordered, Registered, crm
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
MODELS = "tests.privacy.people"


class Service:
    """A service's processes, their settings and their logs."""

    def __init__(self, url: str, kafka: str, logs: Path) -> None:
        self.url, self.kafka, self.logs = url, kafka, logs
        self.key = MasterKeys.generate("k1")
        self.canary = f"canary-{uuid.uuid4().hex}"
        self.store = EventStore(crm, master_keys=MasterKeys.parse(self.key))
        self._running: list[subprocess.Popen[bytes]] = []

    def command(self, *arguments: str) -> list[str]:
        """Return a command line."""
        return [sys.executable, "-m", "eventkit.cli", *arguments]

    def environment(self) -> dict[str, str]:
        """Return the settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTKIT_")}
        mine = {"DATABASE_URL": self.url, "TRANSPORT_URL": self.kafka, "MASTER_KEYS": self.key}
        return {**kept, **{f"EVENTKIT_{name}": value for name, value in mine.items()}}

    def start(self, name: str, *arguments: str) -> None:
        """Run a process beside the test."""
        with (self.logs / name).open("wb") as log:
            command = self.command(*arguments)
            self._running.append(
                subprocess.Popen(command, env=self.environment(), cwd=ROOT, stderr=log, stdout=subprocess.DEVNULL)
            )

    def run(self, name: str, *arguments: str) -> None:
        """Run a process to its end."""
        with (self.logs / name).open("wb") as log:
            command = self.command(*arguments)
            subprocess.run(command, env=self.environment(), cwd=ROOT, stderr=log, stdout=log, check=True, timeout=60)

    def stop(self) -> None:
        """End all processes, politely."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            process.wait(60)

    def log(self) -> bytes:
        """Return the logs of all processes."""
        return b"".join(path.read_bytes() for path in self.logs.iterdir())


@pytest.fixture
def service(database_url: str, kafka: KafkaServer, tmp_path: Path) -> Iterator[Service]:
    """A service on fresh tables and topics."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    transport = open_transport(kafka.url)
    transport.create_topics(["crm.customer", "crm.order"], partitions=2)
    transport.close()
    service = Service(database_url, kafka.url, tmp_path)
    yield service
    service.stop()


def test_the_plain_text_is_in_no_table_topic_dead_letter_log_or_file(
    service: Service, postgres: PostgresServer
) -> None:
    """Neither before nor after its subject is forgotten; while there is a key, handlers have seen it."""
    append(service)
    service.start("relay", "relay", "run")
    service.start("timers", "timers", "run")
    for name in ("plans", "failing"):
        service.start(name, "projector", "run", f"{MODELS}:{name}")
    wait_until(lambda: len(letters(service.url)) == 3, timeout=60, what="the dead letters")
    wait_until(lambda: counts(service.url) == [(1, 0)], timeout=60, what="the read model")

    assert service.canary.encode() not in everything(service, postgres)

    service.run("forget", "privacy", "forget", "customer-42", "--yes")
    with psycopg.connect(service.url) as connection:
        connection.execute("delete from eventkit.checkpoints")
        connection.execute("delete from plans")
    service.run("again", "projector", "run", f"{MODELS}:plans", "--from", "store", "--until-idle", "0.3")

    assert counts(service.url) == [(0, 1)]
    assert service.canary.encode() not in everything(service, postgres)


def append(service: Service) -> None:
    """Record events of a customer, and set deadlines with his data."""
    canary = service.canary
    with psycopg.connect(service.url) as connection:
        registered = Registered(f"Ada {canary}", dt.date(1815, 12, 10), Decimal("12.50"), canary)
        service.store.append(connection, crm.stream("customer", 42), registered)
        ordered = Ordered(42, Address(canary, canary), 5)
        known: Customers = Repository(service.store, customer, category="customer", snapshots=Snapshots(every=1))
        with known.change(connection, 42) as one:
            one.decide(1)
        Deadlines(service.store).set(connection, crm.stream("order", 1), ordered, dt.timedelta(0))


def letters(url: str) -> list[tuple[object, ...]]:
    """Return parked letters, with their reasons."""
    return rows(url, "select type, error from eventkit.dead_letters order by type")


def counts(url: str) -> list[tuple[object, ...]]:
    """Return the read model."""
    return rows(url, "select named, redacted from plans")


def everything(service: Service, postgres: PostgresServer) -> bytes:
    """Return all tables, all messages, all logs, and all files of the database; each must have something in it."""
    found = {
        "tables": b"".join(tables(service.url)),
        "topics": b"".join(messages(service.kafka)),
        "logs": service.log(),
        "files": b"".join(files(postgres)),
    }
    assert b"customer-42" in found["tables"]
    assert b"customer-42" in found["topics"]
    assert b"customer-42" in found["logs"]
    assert b"customer-42" in found["files"]
    return b"".join(found.values())


def tables(url: str) -> Iterator[bytes]:
    """Dump every table of the database."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for name in names:
            dump = sql.SQL("copy (select t::text from {} t) to stdout").format(sql.Identifier(*name))
            with connection.cursor().copy(dump) as copy:
                yield from map(bytes, copy)


def messages(kafka: str) -> Iterator[bytes]:
    """Read every message, with its key and its headers."""
    found: list[bytes] = []
    with (
        closing(open_transport(kafka)) as transport,
        closing(transport.subscribe(["crm.customer", "crm.order"], f"reader {uuid.uuid4()}")) as subscription,
    ):

        def read() -> int:
            found.extend(repr(message).encode() for message in subscription.receive(100, 0.1))
            return len(found)

        wait_until(lambda: read() >= 3, timeout=60, what="the messages")
    return iter(found)


def files(postgres: PostgresServer) -> Iterator[bytes]:
    """Read the server's files, its write-ahead log among them."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("checkpoint")
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    for path in Path(row[0]).rglob("*"):
        try:
            if path.is_file():
                yield path.read_bytes()
        except FileNotFoundError:
            continue  # the server has just removed it
