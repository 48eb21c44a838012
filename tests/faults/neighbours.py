"""How far a projector gets behind when another one on its topic stops in the middle of a transaction.

The stopped one has locked the checkpoints and rows of its batch, and its partitions come to the other one after the
session timeout, with that batch. Events of all other streams come all along. The other projector must apply them while
the stopped one still has its transaction: nobody ends its session, and no time limit decides which process waits.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit.projection.define.table import TableProjection
from eventkit.transports.base import Publisher, open_transport
from tests.projection.shop import Ordered, Total, message, shop
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SESSION = 10.0  # seconds after which Kafka gives a silent member's partitions to others
STREAMS, BATCH = 120, 12  # all, and those of the batch that the process stops in
ROUNDS = 40  # of events, once the other streams are up to date
DEADLINE = 120.0  # seconds
_HANG = "EVENTKIT_TEST_HANG"  # a file: the process that finds it takes it away and stops itself
CREATE = "create table lines (customer text primary key, orders int not null, amount int not null)"
TABLE = Table(
    "lines",
    MetaData(),
    Column("customer", Text, primary_key=True),
    Column("orders", Integer, nullable=False, default=0),
    Column("amount", Integer, nullable=False, default=0),
)
lines = TableProjection("lines", shop, table=TABLE, key="customer")
lines.declare(None, 3600)  # seconds: the server does not end the session of the stopped one


@lines.on(Ordered)
def ordered(row: Total, event: Ordered) -> None:
    """Count; and stop this process once, at the given event."""
    row.orders += 1
    row.amount += event.amount
    if event.amount < 0:
        flag = Path(os.environ[_HANG])
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)


class Broker(Protocol):
    """A Kafka server."""

    bootstrap: str


@dataclass(frozen=True)
class Lag:
    """The effect of a stopped projector on the others."""

    others: float  # seconds from the stop until the streams of other batches were up to date
    longest: float  # seconds that an event of them waited, at the most, after that
    behind: frozenset[str]  # the streams that were behind then
    stopped: bool  # whether the stopped one still had its transaction then
    exact: bool  # whether the read model is the fold of all events in the end


class Shop:
    """Published messages, and those applied of them."""

    def __init__(self, url: str, publisher: Publisher, topic: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._publisher, self._topic = publisher, topic
        self.versions = dict.fromkeys(names(STREAMS), 0)

    def publish(self, streams: list[str], *, amount: int = 1) -> None:
        """Publish one more event of each."""
        batch = []
        for name in streams:
            self.versions[name] += 1
            batch.append(message(name, self.versions[name], Ordered(name, amount)))
        for tag, item in enumerate(batch):
            item.topic, item.tag = self._topic, tag
        self._publisher.send(batch)
        missing = set(range(len(batch)))
        while missing:
            missing -= {*self._publisher.reports(1).confirmed}

    def behind(self, versions: Mapping[str, int] | None = None) -> frozenset[str]:
        """Return the streams whose rows lack events: of all that were published, or up to some `versions`."""
        found: dict[str, int] = dict(self._connection.execute("select customer, orders from lines").fetchall())
        wanted = self.versions if versions is None else versions
        return frozenset(name for name, version in wanted.items() if found.get(name, 0) < version)

    def now(self) -> datetime:
        """Return the time on the database's clock."""
        ((time,),) = self._connection.execute("select clock_timestamp()").fetchall()
        return cast("datetime", time)

    def is_open_since(self, moment: datetime) -> bool:
        """Whether a transaction that was open at a moment still is."""
        query = "select exists (select from pg_stat_activity where state = 'idle in transaction' and xact_start < %s)"
        return self._connection.execute(query, (moment,)).fetchone() == (True,)

    def is_exact(self) -> bool:
        """Whether each row has each event once."""
        found: dict[str, int] = dict(self._connection.execute("select customer, orders from lines").fetchall())
        return found == self.versions

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()


def names(count: int) -> list[str]:
    """Return names of streams."""
    return [f"order-{number:03}" for number in range(count)]


def measure(url: str, kafka: Broker, folder: Path, *, known: bool = True) -> Lag:
    """Let a projector stop in the middle of a batch, and measure the other's lag; `known` streams have checkpoints."""
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    transport, topic = open_transport(f"kafka://{kafka.bootstrap}"), f"shop.{uuid.uuid4().hex[:8]}"
    transport.create_topics([topic], partitions=6)
    shop_of = Shop(url, transport.publisher(), topic)
    flag = folder / "hang"
    with _projector(url, kafka, topic, flag) as first, _projector(url, kafka, topic, flag) as second:
        shop_of.publish(names(STREAMS) if known else names(STREAMS)[BATCH:])
        wait_until(lambda: not shop_of.behind(), timeout=DEADLINE, what="both projectors")
        flag.touch()
        shop_of.publish(names(BATCH), amount=-1)
        wait_until(lambda: not flag.exists(), timeout=DEADLINE, what="one to stop")
        stopped = shop_of.now()
        others = _others(shop_of)
        longest = max(_round(shop_of, number) for number in range(ROUNDS))
        behind, still_stopped = shop_of.behind(), shop_of.is_open_since(stopped)
        for process in (first, second):
            process.send_signal(signal.SIGCONT)
        wait_until(lambda: not shop_of.behind(), timeout=DEADLINE, what="the stopped batch")
    exact = shop_of.is_exact()
    shop_of.close()
    transport.close()
    return Lag(others, longest, behind, still_stopped, exact)


def _others(shop_of: Shop) -> float:
    """Publish to the other streams until the events that came with the stop are applied; return when all are."""
    others, began = names(STREAMS)[BATCH:], time.monotonic()
    shop_of.publish(others)
    first = {name: shop_of.versions[name] for name in others}

    def is_through() -> bool:
        shop_of.publish(others[int(time.monotonic() * 10) % 5 :: 5])
        time.sleep(0.1)
        return not shop_of.behind(first)

    wait_until(is_through, timeout=DEADLINE, what="the events that came with the stop")
    wait_until(lambda: not shop_of.behind() & {*others}, timeout=DEADLINE, what="the other streams")
    return time.monotonic() - began


def _round(shop_of: Shop, number: int) -> float:
    """Publish to some of the other streams; return how long it takes until they are up to date."""
    others, began = names(STREAMS)[BATCH:], time.monotonic()
    shop_of.publish(others[number % 5 :: 5])
    wait_until(lambda: not shop_of.behind() & {*others}, timeout=DEADLINE, what="the other streams")
    return time.monotonic() - began


@contextmanager
def _projector(url: str, kafka: Broker, topic: str, flag: Path) -> Iterator["subprocess.Popen[bytes]"]:
    words = ["projector", "run", "tests.faults.neighbours:lines", "--topic", topic]
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": url, "EVENTKIT_TRANSPORT_URL": f"kafka://{kafka.bootstrap}"}
    command = [sys.executable, "-m", "eventkit.cli", *words]
    with (flag.parent / "projectors.log").open("ab") as log:
        process = subprocess.Popen(command, env={**settings, _HANG: str(flag)}, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
