"""Feeds one part of the streams to a rebuild: pass after pass over what is behind, each stream up to its version.

Stream by stream, because a snapshot's events of one stream are a prefix of it: what is committed late at a lower
position is missed by nobody. A pass begins where the checkpoints are, so it is the first feeding, the catching up, and
the going on after a death alike.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.arrival import Arrival, Run
from eventkit.projection.building import Building
from eventkit.projection.counters import Counters
from eventkit.projection.culprit import Culprits
from eventkit.projection.second_look import SecondLook
from eventkit.storage.behind import Behind, behind
from eventkit.storage.history import OwnHistory
from eventkit.storage.outbox import message
from eventkit.storage.stream_log import Missing, Part, StreamLog
from eventkit.worker import Stop

CHUNK = 10_000  # events in a transaction

Told = Callable[[int], None]


class Feeder:
    """One part, on one thread: a connection to the read models' database and one to the store."""

    def __init__(
        self, building: Building, store: psycopg.Connection[Any], *, schema: str, part: Part, stop: Stop
    ) -> None:
        """Feed `building` from the store, an autocommit connection that may be to another database."""
        self.counters = Counters()
        self.building = building
        self.log = StreamLog(store, schema, categories=building.projection.categories)
        self.history = OwnHistory(store, schema)
        self._second = SecondLook(building, self.history, schema=schema)
        self._culprits = Culprits(building, self._second, stop)
        self._part = part
        self._stop = stop

    def work(self, told: Told, *, until: int) -> None:
        """Feed until a pass found no more than `until` events, or until asked to stop."""
        while not self._stop.is_set() and self.once(told) > until:
            pass

    def once(self, told: Told) -> int:
        """Feed what is behind now; tell how many events each transaction took, and return how many there were."""
        fed = 0
        for chunk in chunks(self._behind()):
            if self._stop.is_set():
                break
            runs = self.runs(chunk)
            for run in self._culprits.apply(runs, self.counters):
                self._culprits.look(run, self.counters)
            count = sum(len(run.arrivals) for run in runs)
            # crash point: fed in part, not all -> the next rebuild starts anew, or goes on where the checkpoints are
            told(count)
            fed += count
        return fed

    def runs(self, chunk: list[Missing]) -> list[Run]:
        """Read what a generation lacks; RebuildRefused where the store has not all of it."""
        return runs_of(self.log, chunk)

    def _behind(self) -> Iterator[Behind]:
        connection, generation = self.building.workspace.connection, self.building.rebuild.generation
        return behind(self.log, self.building.checkpoints, connection, generation, self._part)


def chunks(lagging: Iterable[Behind]) -> Iterator[list[Missing]]:
    """Gather what is behind into pieces of so many events; parked streams wait for somebody."""
    chunk: list[Missing] = []
    size = 0
    for item in lagging:
        low = item.version if item.parked else item.applied
        while low < item.version:
            high = min(item.version, low + CHUNK - size)
            chunk.append(Missing(item.stream, low, high))
            size += high - low
            low = high
            if size == CHUNK:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def runs_of(log: StreamLog, chunk: list[Missing]) -> list[Run]:
    """Read events, one whole run a stream; RebuildRefused where the store lacks one."""
    runs: list[Run] = []
    for row in log.events(chunk):
        version = int(row[3])
        arrival = Arrival(row[2], version, message(row), row[0])
        if runs and runs[-1].stream == row[2]:
            runs[-1].arrivals.append(arrival)
        else:
            runs.append(Run(row[2], [arrival]))
    found = {run.stream: run for run in runs}
    for stream, low, high in chunk:
        run = found.get(stream)
        if run is None or (run.arrivals[0].version, len(run.arrivals)) != (low + 1, high - low):
            there = f"has {len(run.arrivals)} of them" if run else "has none of them"
            raise RebuildRefused(
                f"versions {low + 1} to {high} of {stream} are needed, and the store {there}: they were pruned, or are "
                "another service's; a read model can be rebuilt only from a store that has all of its events"
            )
    return runs
