"""A process that times the way from a writer's commit to the read models.

Measured is: from the writer's monotonic clock right after `commit()` had returned, until a query finds that the
checkpoints of all read models have passed that transaction's last event, which they do in the transaction that changes
the read model. The query runs every 2 ms while a sample is under way, every 20 ms when the newest is old: the figure is
too high by that at most, and never too low.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Event
from typing import NamedTuple

import psycopg
from psycopg import sql

from eventkit.storage.db.connection import connect
from examples.flights import lifeline
from examples.flights.writers import Sample

OFTEN, SELDOM = 0.002, 0.02  # seconds between two looks
OLD = 0.2  # seconds under way, after which a sample does not need the finer resolution
GENERATIONS = "select generation from {}.projections"
REACHED = """
    select stream, min(version) from {}.checkpoints
     where generation = any(%s) and stream = any(%s) group by stream having count(*) = %s
"""


class Timed(NamedTuple):
    """A sample that has reached the read models; both on time.monotonic_ns()."""

    committed: int
    visible: int


@dataclass(frozen=True)
class Wires:
    """The watcher's connections to the rest of the demo."""

    samples: Sequence[Connection]  # one a writer
    stop: Event
    results: Connection


def watch(database_url: str, schema: str, projections: int, wires: Wires) -> None:
    """Be the watcher process: time samples until stopped, then send the results."""
    lifeline.hold()
    with connect(database_url, name="flights latency", schema=schema, autocommit=True) as connection:
        watcher = Watcher(connection, schema, projections)
        writers = list(wires.samples)
        never, _ = Pipe(duplex=False)  # to wait on when all writers have finished
        while not wires.stop.is_set():
            wait(writers or [never], watcher.pause)
            for pipe in writers.copy():
                _receive(pipe, watcher, writers)
            watcher.poll()
    wires.results.send(watcher.timed)


def _receive(pipe: Connection, watcher: "Watcher", writers: list[Connection]) -> None:
    try:
        while pipe.poll():
            watcher.add(pipe.recv())
    except EOFError:
        writers.remove(pipe)


class Watcher:
    """Holds the samples that are under way."""

    def __init__(self, connection: "psycopg.Connection[tuple[str, int]]", schema: str, projections: int) -> None:
        """Prepare to read the checkpoints of all read models."""
        self._connection = connection
        self._schema = sql.Identifier(schema)
        self._projections = projections
        self._generations: list[int] = []
        self._under_way: dict[tuple[str, int], int] = {}
        self.timed: list[Timed] = []

    @property
    def pause(self) -> float:
        """How long to wait before the next look."""
        newest = max(self._under_way.values(), default=0)
        return OFTEN if time.monotonic_ns() - newest < OLD * 1e9 else SELDOM

    def add(self, sample: Sample) -> None:
        """Watch a sample."""
        self._under_way[sample.stream, sample.version] = sample.committed

    def poll(self) -> None:
        """Note which samples have become visible."""
        if not self._under_way:
            return
        reached = dict(self._reached())
        now = time.monotonic_ns()
        for stream, version in [place for place in self._under_way if reached.get(place[0], 0) >= place[1]]:
            self.timed.append(Timed(self._under_way.pop((stream, version)), now))

    def _reached(self) -> Iterator[tuple[str, int]]:
        if len(self._generations) < self._projections:
            rows = self._connection.execute(sql.SQL(GENERATIONS).format(self._schema))
            self._generations = [int(row[0]) for row in rows]
        streams = list({stream for stream, _version in self._under_way})
        statement = sql.SQL(REACHED).format(self._schema)
        yield from self._connection.execute(statement, (self._generations, streams, self._projections))


def percentile(timed: Sequence[Timed], share: float) -> float | None:
    """Return the latency in milliseconds that `share` of the samples do not exceed; None without samples."""
    latencies = sorted(sample.visible - sample.committed for sample in timed)
    if not latencies:
        return None
    return latencies[min(int(len(latencies) * share), len(latencies) - 1)] / 1e6
