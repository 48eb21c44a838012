"""Starts the system of the incident, and breaks it in five places."""

import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import create_engine

from eventkit import Append, Settings, open_transport
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage.outbox.leases import lock_class
from examples.incident.shop import Base, InvoiceSent, OrderPlaced, shop, store

ROOT = Path(__file__).parents[2]
PARTS = 2
LEFT = 1  # the part that gets no relay
BACKLOG = 150_000  # orders of that part: more than attention takes for usual at any age
_AT_ONCE = 10_000
_TIMEOUT = 120.0  # seconds


class System:
    """Servers, processes, and the faults; each method waits until its fault can be seen."""

    def __init__(self, postgres: EmbeddedPostgres, kafka: EmbeddedKafka, folder: Path) -> None:
        self.database_url = postgres.url
        self.environment = {"EVENTKIT_DATABASE_URL": postgres.url, "EVENTKIT_TRANSPORT_URL": kafka.url}
        self._kafka = kafka
        self._folder = folder
        self._settings = Settings(database_url=postgres.url)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._database = psycopg.connect(postgres.url, autocommit=True)
        self._orders = _streams("order", 1 - LEFT)
        self._forgotten: psycopg.Connection[tuple[object, ...]] | None = None

    def prepare(self) -> None:
        """Create tables and topics."""
        self._eventkit("db", "upgrade")
        self._eventkit("relay", "parts", str(PARTS))
        Base.metadata.create_all(create_engine(self._settings.sqlalchemy_url))
        for topic in ("shop.order", "shop.invoice"):
            self._kafka.create_topic(topic)

    def leave_a_part_without_a_relay(self) -> None:
        """Keep the lock of a part's lease in a session that does nothing, as a stuck process does."""
        self._forgotten = psycopg.connect(self._settings.require_database(), application_name="a forgotten session")
        name = f"relay {LEFT}/{PARTS}"
        self._forgotten.execute("select pg_advisory_lock(%s::int, 1)", [lock_class(self._settings.schema, name)])
        self._start("relay", "relay", "run")

    def let_the_outbox_fill(self, backlog: int) -> None:
        """Append orders whose streams are in the part without a relay."""
        numbers = _streams("order", LEFT)
        for first in range(0, backlog, _AT_ONCE):
            count = min(_AT_ONCE, backlog - first)
            batch = [Append(shop.stream("order", next(numbers)), [OrderPlaced("ada", 100)]) for _ in range(count)]
            with self._database.transaction():
                store.append_many(self._database, batch)
        self._database.execute("analyze eventkit.outbox")  # amounts of this size are PostgreSQL's estimates

    def kill_a_projector(self) -> None:
        """Run both projectors until they have applied an order, then kill one with -9."""
        for name in ("totals", "board"):
            self._start(name, "projector", "run", f"examples.incident.shop:{name}")
        self._order("ada", 100)
        self._until("both projectors apply", "select count(*) = 2 from eventkit.checkpoints where version > 0")
        self._until(
            "the projectors' heartbeats",
            "select count(*) = 1 from eventkit.processes where state -> 'projections' ? 'board'",
        )
        self._running["board"].kill()

    def place_a_poison_order(self) -> None:
        """Place an order that the handler of `totals` refuses."""
        self._order("mallory", -1)
        self._until("the dead letter", "select count(*) > 0 from eventkit.dead_letters")

    def send_to_a_claimed_topic(self) -> None:
        """Append an invoice, to whose topic the relay of another installation sends, such as a copy for tests."""
        transport = open_transport(self._kafka.url)
        transport.claim(["shop.invoice"], str(uuid4()))
        transport.close()
        number = next(_streams("invoice", 1 - LEFT))
        with self._database.transaction():
            store.append(self._database, shop.stream("invoice", number), InvoiceSent(number))
        self._until("the held topic", "select count(*) > 0 from eventkit.held_topics")

    def wait_for_the_dead(self) -> None:
        """Wait until the killed projector counts as gone."""
        self._until(
            "15 seconds without a heartbeat",
            "select count(*) > 0 from eventkit.processes where seen_at < clock_timestamp() - interval '15 s'",
        )

    def stop(self) -> None:
        """End all processes."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(30)
        self._database.close()
        if self._forgotten is not None:
            self._forgotten.close()

    def _order(self, customer: str, cents: int) -> None:
        with self._database.transaction():
            store.append(self._database, shop.stream("order", next(self._orders)), OrderPlaced(customer, cents))

    def _eventkit(self, *words: str) -> None:
        subprocess.run(self._command(*words), env=self._inherited(), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def _start(self, name: str, *words: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._command(*words), env=self._inherited(), cwd=ROOT, stdout=log, stderr=log
            )

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "eventkit.cli", *words]

    def _inherited(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _until(self, what: str, query: str) -> None:
        wait_until(lambda: bool(self._database.execute(query.encode()).fetchone() == (True,)), what, self._folder)


@contextmanager
def broken_system(*, backlog: int = BACKLOG, say: Callable[[str], None] = print) -> Iterator[System]:
    """Start a system, break it in five places, and lend it."""
    with (
        tempfile.TemporaryDirectory(prefix="incident-") as folder,
        EmbeddedPostgres() as postgres,
        EmbeddedKafka() as kafka,
    ):
        system = System(postgres, kafka, Path(folder))
        try:
            say("tables and topics ...")
            system.prepare()
            say("a relay, and two projectors ...")
            system.leave_a_part_without_a_relay()
            system.kill_a_projector()
            say("some trouble ...")
            system.place_a_poison_order()
            system.send_to_a_claimed_topic()
            system.let_the_outbox_fill(backlog)
            yield system
        finally:
            system.stop()


def wait_until(condition: Callable[[], bool], what: str, logs: Path) -> None:
    """Wait for a condition; raise TimeoutError with the logs of the processes if it does not come."""
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            text = "\n".join(file.read_text()[-2000:] for file in sorted(logs.glob("*.log")))
            raise TimeoutError(f"waited {_TIMEOUT:.0f} s for {what}:\n{text}")
        time.sleep(0.1)


def _streams(category: str, part: int) -> Iterator[str]:
    """Yield keys whose streams are in a part."""
    number = 0
    while True:
        number += 1
        if zlib.crc32(f"{category}-{number}".encode()) % 256 % PARTS == part:
            yield str(number)
