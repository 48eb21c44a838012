"""Topics of orders, and consumers that follow them, each in a process of its own, alone or several in a group.

A projection begins with an empty read model and no checkpoints, and ends with a check of the read model.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from sqlalchemy.schema import CreateTable

from benchmarks.consumers import Lap
from benchmarks.measure import Sample
from benchmarks.orders import READ_MODELS, Orders, Rows, metadata
from benchmarks.servers import Kafka
from eventkit.transports.base import open_transport

PARTITIONS = 6
_CHUNK = 10_000
_KEYS = {"table": "order", "shared": "customer", "sql": "customer"}


class Consuming:
    """One database and one broker."""

    def __init__(self, database_url: str, kafka: Kafka) -> None:
        """Make the read models' tables."""
        self._database_url = database_url
        self._kafka = kafka
        self._connection = psycopg.connect(database_url, autocommit=True)
        for table in metadata.tables.values():
            self._execute(str(CreateTable(table)))

    def publish(self, orders: Orders) -> None:
        """Send all orders to a topic of their own."""
        self._kafka.create_topic(orders.topic, PARTITIONS)
        _publish(f"kafka://{self._kafka.bootstrap}", orders)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def project(self, name: str, orders: Orders, *, processes: int = 1) -> Sample:
        """Let so many projectors make a read model of all orders, from nothing; RuntimeError when a row is wrong."""
        kind = name.partition(":")[0]
        table = READ_MODELS[kind]
        self._execute(f"truncate {table}, eventkit.checkpoints, eventkit.places")
        self._execute("checkpoint")
        sample = self.consumer(name, orders) if processes == 1 else self._group(name, orders, processes)
        self._check(table, orders.totals(_KEYS[kind]))
        return sample

    def consumer(self, name: str, orders: Orders) -> Sample:
        """Let one consumer of `benchmarks.consumers` read all orders."""
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
