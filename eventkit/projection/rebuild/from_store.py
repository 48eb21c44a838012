"""Feed one part of the streams to a rebuild, in passes over the streams that are behind, each up to its version.

It reads stream by stream: in any snapshot, a stream's events are a prefix of the stream. So an event that commits late
at a lower position is not missed. Each pass starts at the checkpoints. So the first feed, the catch-up and a resumed
rebuild are the same pass.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import EventIsolation, StreamRepair
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.rebuild.memory import BYTES, EVENTS, MemoryShare
from eventkit.projection.rebuild.shadow_applier import ShadowApplier
from eventkit.storage.events import Missing, OwnHistory, StreamLog, StreamPart
from eventkit.storage.outbox import received
from eventkit.storage.projections import StreamLag, behind
from eventkit.worker import Stop

OnApplied = Callable[[int], None]  # called with the number of events of each transaction
Versions = Callable[[Sequence[str]], Mapping[str, int]]  # of the streams that exist, of those given


class Feeder(Protocol):
    """Feeds a shadow: `StoreFeeder` from the store, `TransportFeeder` from the transport."""

    applier: ShadowApplier
    versions: Versions | None  # of the store, if it has all events

    def work(self, on_applied: OnApplied, *, until: int) -> None:
        """Feed until `until` events or fewer are left, or until stopped."""

    def parts(self, chunk: list[Missing]) -> Iterator[list[Run]]:
        """Read missing events in parts; raise RebuildRefused if there is no such event."""
        ...


class StoreFeeder:
    """Feeds one part on one thread, with a connection to the read models' database and one to the store."""

    def __init__(
        self,
        applier: ShadowApplier,
        store: psycopg.Connection[Any],
        *,
        schema: str,
        part: StreamPart,
        stop: Stop,
        share: MemoryShare = MemoryShare(),  # noqa: B008 frozen
    ) -> None:
        """Feed `applier` from `store`, an autocommit connection that may be to another database."""
        self.counters = Counters()
        self.applier = applier
        self._log = StreamLog(store, schema, categories=applier.projection.categories)
        self.versions: Versions | None = self._log.versions
        self.history = OwnHistory(store, schema)
        self._isolation = EventIsolation(applier, StreamRepair(applier, self.history), stop)
        self._part = part
        self._share = share
        self._stop = stop

    def work(self, on_applied: OnApplied, *, until: int) -> None:
        """Run passes until one has fed `until` events or fewer, or until stopped."""
        while not self._stop.is_set() and self.once(on_applied) > until:
            pass

    def once(self, on_applied: OnApplied) -> int:
        """Run one pass over the streams that are behind now; return how many events it has fed."""
        fed = 0
        for runs in (part for chunk in self.chunks(self._lagging()) for part in self.parts(chunk)):
            if self._stop.is_set():
                break
            for run in self._isolation.apply(runs, self.counters):
                self._isolation.repair(run, self.counters)
            count = sum(len(run.arrivals) for run in runs)
            # crash point: fed in part, not all -> the next rebuild starts again, or resumes at the checkpoints
            on_applied(count)
            fed += count
        return fed

    def chunks(self, lagging: Iterable[StreamLag]) -> Iterator[list[Missing]]:
        """Gather missing events into chunks of one transaction each."""
        return chunks(lagging, most=self._share.events)

    def parts(self, chunk: list[Missing]) -> Iterator[list[Run]]:
        """Read a chunk in parts; raise RebuildRefused if the store lacks an event of it."""
        return parts_of(self._log, chunk, max_bytes=self._share.bytes)

    def _lagging(self) -> Iterator[StreamLag]:
        connection, generation = self.applier.workspace.connection, self.applier.rebuild.generation
        return behind(self._log, self.applier.checkpoints, connection, generation, self._part)


def chunks(lagging: Iterable[StreamLag], *, most: int = EVENTS) -> Iterator[list[Missing]]:
    """Gather missing events into chunks of `most` events; leave out parked streams."""
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
    """Read events in parts of `max_bytes`, with whole runs of streams; raise RebuildRefused if an event is missing."""
    left = list(chunk)
    while left:
        runs: list[Run] = []
        for row in log.events(left, max_bytes=max_bytes):
            arrival = Arrival(row[2], int(row[3]), received(row), row[0])
            if runs and runs[-1].stream == row[2]:
                runs[-1].arrivals.append(arrival)
            else:
                runs.append(Run(row[2], [arrival]))
        left = _left(left, runs)
        yield runs


def _left(requested: list[Missing], runs: list[Run]) -> list[Missing]:
    """Return the events behind the last one that was read; raise RebuildRefused if one before it is missing."""
    for place, (stream, low, high) in enumerate(requested):
        run = runs[place] if place < len(runs) else None
        read = len(run.arrivals) if run else 0
        last = place >= len(runs) - 1  # the last run that was read: events behind its end may follow in the next part
        fits = run is not None and run.stream == stream and run.arrivals[0].version == low + 1
        whole = fits and run is not None and run.arrivals[-1].version == low + read
        if not whole or (read < high - low and not last):
            there = f"has {read} of them" if run is not None and run.stream == stream else "has none of them"
            raise RebuildRefused(
                f"versions {low + 1} to {high} of {stream} are needed, and the store {there}. They were pruned, or "
                "belong to another service, or the store lost them in a restore or a failover; then `--accept-lost` "
                "leaves them out. Otherwise rebuild from a store that has all events of the read model"
            )
        if last:
            rest = [Missing(stream, low + read, high)] if read < high - low else []
            return rest + requested[place + 1 :]
    return []


def runs_of(log: StreamLog, chunk: list[Missing]) -> list[Run]:
    """Read events of any size, one whole run a stream; raise RebuildRefused if an event is missing."""
    runs: dict[str, Run] = {}
    for run in (run for part in parts_of(log, chunk) for run in part):
        runs.setdefault(run.stream, Run(run.stream, [])).arrivals.extend(run.arrivals)
    return list(runs.values())
