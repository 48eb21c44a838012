"""The consumers in Go and Java keep their read models equal to the projector's while the relay is killed.

`make test` fetches both programs, for which this machine needs Go 1.23 or later, Java and Maven.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import create_engine

from eventkit import Settings
from examples.quickstart import Base, OrderPlaced, shop, store
from tests.process import EventkitProcess
from tests.relay.process import RelayProcess
from tests.sdks.programs import CONSUMERS
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, by_tcp
from tests.waiting import wait_until

TOPIC, PARTITIONS = "shop.order", 3
STREAMS, CUSTOMERS = 20, 7
KILLS, BETWEEN = 3, 120  # events
PROJECTOR = ("projector", "run", "examples.quickstart:totals")
TIMEOUT = 120  # seconds
Rows = list[tuple[str, int, Decimal]]


class Orders:
    """Appends orders, each to the next of the streams, and keeps the read model that they make."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.count = 0
        self._totals: dict[str, tuple[int, Decimal]] = {}

    def append(self, count: int) -> None:
        """Append so many, each in a transaction of its own."""
        with psycopg.connect(self._url) as connection:
            for number in range(self.count, self.count + count):
                order = OrderPlaced(f"customer {number % CUSTOMERS}", Decimal(number) / 100)
                store.append(connection, shop.stream("order", str(number % STREAMS)), order)
                connection.commit()
                orders, total = self._totals.get(order.customer, (0, Decimal(0)))
                self._totals[order.customer] = (orders + 1, total + order.total)
        self.count += count

    def rows(self) -> Rows:
        """Return the read model."""
        return sorted((customer, *values) for customer, values in self._totals.items())


@contextmanager
def consumer(language: str, broker: str, url: str, log: Path) -> Iterator[Callable[[], Rows]]:
    """Run a program, with a database of its own; yield a function that returns its read model."""
    program, parts = CONSUMERS[language], urlsplit(url)
    address = url.replace("postgresql+psycopg", "postgresql") + "?sslmode=disable"
    if language == "java":
        login = f"user={parts.username}&password={parts.password or ''}"
        address = f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}?{login}"
    command = program.command(broker, TOPIC, address)
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=program.folder, stdout=output, stderr=output)

    def rows() -> Rows:
        assert process.poll() is None, log.read_text()[-3_000:]
        return model(url, "totals")

    try:
        yield rows
    finally:
        process.kill()
        process.wait()


def model(url: str, table: str) -> Rows:
    """Return the rows of a read model, none where its table is not there yet."""
    with psycopg.connect(url) as connection:
        if not connection.execute("select to_regclass(%s)", [table]).fetchall()[0][0]:
            return []
        found = connection.execute(f"select customer, orders, total from {table} order by customer".encode())
        return [(customer, orders, total) for customer, orders, total in found]


def sent(bootstrap: str) -> int:
    """Return how many messages the topic has."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "counts"})
    ends = [reader.get_watermark_offsets(TopicPartition(TOPIC, each), timeout=30) for each in range(PARTITIONS)]
    reader.close()
    return sum(high - low for low, high in ends)


def emptied(url: str) -> None:
    """Wait until the relay has sent all."""
    with psycopg.connect(url, autocommit=True) as connection:
        left = "select count(*) from eventkit.outbox"
        wait_until(lambda: connection.execute(left).fetchall() == [(0,)], timeout=TIMEOUT, what="an empty outbox")


def sent_again(url: str, relay: RelayProcess, orders: Orders) -> int:
    """Let the relay send some events, die before it settles them, and send them again; return how many."""
    emptied(url)
    relay.kill()
    orders.append(BETWEEN)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table unsettled as select * from eventkit.outbox")
        relay.start()
        emptied(url)
        relay.kill()
        connection.execute("insert into eventkit.outbox select * from unsettled")
    relay.start()
    emptied(url)
    return BETWEEN


class Told(NamedTuple):
    """The read models after the kills: the right one, the projector's, and functions that return the consumers'."""

    expected: Rows
    ours: Rows
    theirs: Mapping[str, Callable[[], Rows]]


@pytest.fixture(scope="module")
def told(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Orders, sent by a relay that is killed with -9 at work and that sends some events twice."""
    logs, url = tmp_path_factory.mktemp("consumers"), postgres.fresh()
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer())
        kafka.create_topic(TOPIC, PARTITIONS)
        Base.metadata.create_all(create_engine(Settings(database_url=url).sqlalchemy_url))
        theirs: dict[str, Callable[[], Rows]] = {}
        for language in (each for each, program in CONSUMERS.items() if program.is_here):
            own = by_tcp(postgres.fresh(migrated=False))
            theirs[language] = stack.enter_context(consumer(language, kafka.bootstrap, own, logs / f"{language}.log"))
        stack.enter_context(EventkitProcess(url, kafka.url, logs / "projector.log", *PROJECTOR))
        relay, orders = stack.enter_context(RelayProcess(url, kafka.url, logs / "relay.log")), Orders(url)

        for _ in range(KILLS):
            orders.append(BETWEEN // 2)
            relay.kill()
            orders.append(BETWEEN // 2)
            relay.start()
        repeated = sent_again(url, relay, orders)

        assert sent(kafka.bootstrap) >= orders.count + repeated
        expected = orders.rows()
        reach(lambda: model(url, "customer_totals"), expected)
        yield Told(expected, model(url, "customer_totals"), theirs)


def reach(rows: Callable[[], Rows], expected: Rows) -> None:
    """Wait until a read model is right."""
    wait_until(lambda: rows() == expected, timeout=TIMEOUT, what="the read model")


@pytest.mark.parametrize("language", CONSUMERS)
def test_a_consumer_in_another_language_keeps_the_projectors_read_model(language: str, told: Told) -> None:
    """Plain Kafka and CloudEvents, and the version of each stream: killed relays change nothing in its rows."""
    CONSUMERS[language].command()  # says how to get it

    reach(told.theirs[language], told.expected)

    assert told.theirs[language]() == told.ours
