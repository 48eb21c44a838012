"""Feeds one part of the streams to a rebuild: pass after pass over what is behind, each stream up to its version.

Stream by stream, because a snapshot's events of one stream are a prefix of it: what is committed late at a lower
position is missed by nobody. A pass begins where the checkpoints are, so it is the first feeding, the catching up, and
the going on after a death alike.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import EventIsolation, StreamParking
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.rebuild.memory import BYTES, EVENTS, Share
from eventkit.projection.rebuild.shadow_applier import ShadowApplier
from eventkit.storage.events import Missing, OwnHistory, StreamLog, StreamPart
from eventkit.storage.outbox import message
from eventkit.storage.projections import StreamLag, behind
from eventkit.worker import Stop

Told = Callable[[int], None]


class StoreFeeder:
    """One part, on one thread: a connection to the read models' database and one to the store."""

    def __init__(
        self,
        building: ShadowApplier,
        store: psycopg.Connection[Any],
        *,
        schema: str,
        part: StreamPart,
        stop: Stop,
        share: Share = Share(),  # noqa: B008 frozen
    ) -> None:
        """Feed `building` from the store, an autocommit connection that may be to another database."""
        self.counters = Counters()
        self.building = building
        self.log = StreamLog(store, schema, categories=building.projection.categories)
        self.history = OwnHistory(store, schema)
        self._second = StreamParking(building, self.history, schema=schema)
        self._culprits = EventIsolation(building, self._second, stop)
        self._part = part
        self._share = share
        self._stop = stop

    def work(self, told: Told, *, until: int) -> None:
        """Feed until a pass found no more than `until` events, or until asked to stop."""
        while not self._stop.is_set() and self.once(told) > until:
            pass

    def once(self, told: Told) -> int:
        """Feed what is behind now; tell how many events each transaction took, and return how many there were."""
        fed = 0
        for runs in (part for chunk in self.chunks(self._behind()) for part in self.parts(chunk)):
            if self._stop.is_set():
                break
            for run in self._culprits.apply(runs, self.counters):
                self._culprits.repair(run, self.counters)
            count = sum(len(run.arrivals) for run in runs)
            # crash point: fed in part, not all -> the next rebuild starts anew, or goes on where the checkpoints are
            told(count)
            fed += count
        return fed

    def chunks(self, lagging: Iterable[StreamLag]) -> Iterator[list[Missing]]:
        """Gather what is behind into pieces of as many events as a transaction takes."""
        return chunks(lagging, most=self._share.events)

    def parts(self, chunk: list[Missing]) -> Iterator[list[Run]]:
        """Read what a generation lacks, in parts; RebuildRefused where the store has not all of it."""
        return parts_of(self.log, chunk, max_bytes=self._share.bytes)

    def _behind(self) -> Iterator[StreamLag]:
        connection, generation = self.building.workspace.connection, self.building.rebuild.generation
        return behind(self.log, self.building.checkpoints, connection, generation, self._part)


def chunks(lagging: Iterable[StreamLag], *, most: int = EVENTS) -> Iterator[list[Missing]]:
    """Gather what is behind into pieces of so many events; parked streams wait for somebody."""
    chunk: list[Missing] = []
    size = 0
    for item in lagging:
        low = item.version if item.parked else item.applied
        while low < item.version:
            high = min(item.version, low + most - size)
            chunk.append(Missing(item.stream, low, high))
            size += high - low
            low = high
            if size == most:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def parts_of(log: StreamLog, chunk: list[Missing], *, max_bytes: int = BYTES) -> Iterator[list[Run]]:
    """Read events in parts of so many bytes, one whole run a stream; RebuildRefused where the store lacks one."""
    left = list(chunk)
    while left:
        runs: list[Run] = []
        for row in log.events(left, max_bytes=max_bytes):
            arrival = Arrival(row[2], int(row[3]), message(row), row[0])
            if runs and runs[-1].stream == row[2]:
                runs[-1].arrivals.append(arrival)
            else:
                runs.append(Run(row[2], [arrival]))
        left = _left(left, runs)
        yield runs


def _left(wanted: list[Missing], runs: list[Run]) -> list[Missing]:
    """Return what was left out behind the last event; RebuildRefused where one is missing before."""
    for place, (stream, low, high) in enumerate(wanted):
        run = runs[place] if place < len(runs) else None
        read = len(run.arrivals) if run else 0
        last = place >= len(runs) - 1  # of what was returned: the rest of it, and all behind, may have been left out
        fits = run is not None and run.stream == stream and run.arrivals[0].version == low + 1
        whole = fits and run is not None and run.arrivals[-1].version == low + read
        if not whole or (read < high - low and not last):
            there = f"has {read} of them" if run is not None and run.stream == stream else "has none of them"
            raise RebuildRefused(
                f"versions {low + 1} to {high} of {stream} are needed, and the store {there}: they were pruned, or are "
                "another service's, or the store lost them in a restore or a failover: then `--accept-lost` leaves "
                "them out; else a read model can be rebuilt only from a store that has all of its events"
            )
        if last:
            rest = [Missing(stream, low + read, high)] if read < high - low else []
            return rest + wanted[place + 1 :]
    return []


def runs_of(log: StreamLog, chunk: list[Missing]) -> list[Run]:
    """Read events, one whole run a stream, however many bytes; RebuildRefused where the store lacks one."""
    runs: dict[str, Run] = {}
    for run in (run for part in parts_of(log, chunk) for run in part):
        runs.setdefault(run.stream, Run(run.stream, [])).arrivals.extend(run.arrivals)
    return list(runs.values())
