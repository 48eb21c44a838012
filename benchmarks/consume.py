"""How fast projectors follow a topic, beside a bare consume loop, in alternating rounds.

Every round begins with empty read models and no checkpoints, and ends with a look at the read models: a row that is not
exactly the fold of its events ends the benchmark.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import click
import msgspec
import psycopg
from rich.progress import track
from sqlalchemy.schema import CreateTable

from benchmarks.consumers import Lap
from benchmarks.given import Given, given, machine
from benchmarks.measure import Rounds, Sample, last_line, show
from benchmarks.orders import READ_MODELS, Orders, Rows, metadata
from benchmarks.plot import bars
from benchmarks.servers import Kafka
from eventkit.transports.base import open_transport

PARTITIONS = 6
BARE, TUNED, SUBSCRIPTION, TABLE, COLD, SHARED, PAIR, SQL = (
    "bare consume",
    "bare consume, tuned",
    "subscription",
    "table projection",
    "table projection, cold",
    "shared rows",
    "shared rows, 2 processes",
    "SQL projection",
)
NOTES = """\
bare consume: the client's consume() by 4,000 with its defaults, reading key, value and headers; commits nothing.
With a full queue the client then pauses its fetching for a second (fetch.queue.backoff.ms), so this is no upper limit:
bare consume, tuned: the same with our subscription's fetch settings, the real limit of the client
subscription: eventkit's subscription alone: messages made and acknowledged, offsets committed
table projection: receive, decode, fold into a row a stream, a checkpoint a stream, commit, acknowledge
cold: the same with a hundred times the streams, each of three events: nearly every event finds a cold row or makes one
shared rows: 1,000 rows, each fed by many streams; 2 processes share the group, and sharing it out is in the time
SQL projection: `on_batch`, one statement of the handler's for a run of events
All look for garbage rarely, as the `eventkit` command does; the clock runs from the first message to the last commit.
CPU seconds and memory are the consumers' own, without the servers'. After each round every read model was exact."""
_CHUNK = 10_000
_KEYS = {"table": "order", "shared": "customer", "sql": "customer"}


class ConsumeRun:
    """Rounds over one database and one broker."""

    def __init__(self, database_url: str, kafka: Kafka, *, events: int, streams: int) -> None:
        """Fill two topics, the second with a hundred times as many streams, and make the read models' tables."""
        self._database_url = database_url
        self._kafka = kafka
        self.rounds = Rounds()
        self.hot = _orders("order", events, streams)
        self.cold = _orders("cold", events, min(100 * streams, max(events // 3, 1)))
        for orders in (self.hot, self.cold):
            kafka.create_topic(orders.topic, PARTITIONS)
            _publish(f"kafka://{kafka.bootstrap}", orders)
        self._connection = psycopg.connect(database_url, autocommit=True)
        for table in metadata.tables.values():
            self._execute(str(CreateTable(table)))

    def round(self) -> None:
        """Let every contestant run once."""
        self.rounds.add(BARE, self._consumer("bare", self.hot))
        self.rounds.add(TUNED, self._consumer("tuned", self.hot))
        self.rounds.add(SUBSCRIPTION, self._consumer("subscription", self.hot))
        self.rounds.add(TABLE, self._project("table", self.hot))
        self.rounds.add(COLD, self._project("table", self.cold))
        self.rounds.add(SHARED, self._project("shared", self.hot))
        self.rounds.add(PAIR, self._project("shared", self.hot, processes=2))
        self.rounds.add(SQL, self._project("sql", self.hot))

    def ratio(self, contestant: str) -> float:
        """Return the median ratio of a contestant to the bare loop of its round."""
        return self.rounds.ratio(contestant, BARE)

    def figures(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "table_projection_events_per_second": self.rounds.rate(TABLE),
            "table_projection_ratio": self.ratio(TABLE),
            "table_projection_cold_ratio": self.ratio(COLD),
            "shared_rows_ratio": self.ratio(PAIR),
            "shared_rows_one_process_ratio": self.ratio(SHARED),
            "sql_projection_ratio": self.ratio(SQL),
            "subscription_ratio": self.ratio(SUBSCRIPTION),
            "raw_consume_events_per_second": self.rounds.rate(BARE),
            "tuned_consume_events_per_second": self.rounds.rate(TUNED),
            "table_projection_ratio_to_tuned": self.rounds.ratio(TABLE, TUNED),
        }

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _project(self, name: str, orders: Orders, *, processes: int = 1) -> Sample:
        table = READ_MODELS[name]
        self._execute(f"truncate {table}, eventkit.checkpoints")
        self._execute("checkpoint")
        sample = self._consumer(name, orders) if processes == 1 else self._group(name, orders, processes)
        self._check(table, orders.totals(_KEYS[name]))
        return sample

    def _consumer(self, name: str, orders: Orders) -> Sample:
        with self._started(name, orders, f"bench.{uuid4()}", orders.events) as lap:
            return lap().sample

    def _group(self, name: str, orders: Orders, processes: int) -> Sample:
        group = f"bench.{uuid4()}"
        started = [self._started(name, orders, group, 0) for _ in range(processes)]
        members = [member.__enter__() for member in started]
        try:
            laps = [member() for member in members]
        finally:
            for each in started:
                each.__exit__(None, None, None)
        worked = [lap for lap in laps if lap.sample.events]
        return Sample(
            orders.events,
            max(lap.ended for lap in worked) - min(lap.began for lap in worked),
            sum(lap.sample.cpu_seconds for lap in worked),
            sum(lap.sample.memory_mb for lap in worked),
        )

    @contextmanager
    def _started(self, name: str, orders: Orders, group: str, events: int) -> Iterator[Callable[[], Lap]]:
        words = [name, self._database_url, self._kafka.bootstrap, orders.topic, group, str(events)]
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.consumers", *words], stdout=subprocess.PIPE)

        def lap() -> Lap:
            output, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"consumer {name} ended with exit code {process.returncode}: see above")
            return msgspec.json.decode(output, type=Lap)

        try:
            yield lap
        finally:
            process.kill()
            process.wait()

    def _check(self, table: str, wanted: Rows) -> None:
        found = {key: (orders, amount) for key, orders, amount in self._execute(f"select * from {table}")}
        if found != wanted:
            wrong = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            raise RuntimeError(
                f"{len(wrong)} rows of {table} are wrong, as {wrong[0]!r}: "
                f"{found.get(wrong[0])}, not {wanted.get(wrong[0])}"
            )

    def _execute(self, statement: str) -> psycopg.Cursor[Any]:
        return self._connection.execute(statement.encode())


def _orders(category: str, events: int, streams: int) -> Orders:
    return Orders(category, max(events // streams, 1) * streams, streams)


def _publish(url: str, orders: Orders) -> None:
    transport = open_transport(url)
    publisher = transport.publisher()
    confirmed, chunk = 0, []
    for message in orders.messages():
        chunk.append(message)
        if len(chunk) == _CHUNK:
            publisher.send(chunk)
            confirmed += len(publisher.reports(0).confirmed)
            chunk = []
    publisher.send(chunk)
    while confirmed < orders.events:
        reports = publisher.reports(30)
        if reports.failed or not reports.confirmed:
            raise RuntimeError(f"{orders.events - confirmed} orders were not confirmed: {reports}")
        confirmed += len(reports.confirmed)
    publisher.close(5)
    transport.close()


@click.command("consume")
@given()
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True, help="A hundred times that: cold.")
def command(shared: Given, *, events: int, streams: int) -> None:
    """Follow a topic with projectors."""
    with shared.database() as (url, version), shared.broker() as kafka:
        run = ConsumeRun(url, kafka, events=events, streams=streams)
        for _ in track(range(shared.rounds), "rounds", console=shared.console):
            run.round()
        run.close()
        title = f"{run.hot.events:,} events from {kafka.version}, PostgreSQL {version}, {machine()}"
        show(run.rounds.table(title, "of bare", run.ratio), shared.console, NOTES)
    if shared.plot:
        bars(shared.plot, title, {"": run.rounds.all_rates()}, pale={BARE, TUNED})
    if shared.as_json:
        last_line(run.figures())
