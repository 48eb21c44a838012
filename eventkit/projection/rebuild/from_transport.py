"""Feeds a rebuild from the transport: a group of its own reads the topics from their beginning.

It has read enough when every stream is where the live generation has it: that is exact, and asks nothing of a broker
but its messages. Where they end before, the topics begin later than the streams do, and the rebuild is refused. What
is missing is taken from the store where the store has it, as a projector does; it may have nothing of other services'.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg

from eventkit.config import Settings
from eventkit.domain.message import Message, total_size
from eventkit.errors import RebuildRefused, TransportError
from eventkit.projection.batch import Run, gather
from eventkit.projection.rebuild.from_store import StoreFeeder, Told
from eventkit.projection.rebuild.swap import SwapBlocked
from eventkit.projection.rebuild.worker_job import Job
from eventkit.projection.run import Projector, TransportSource, known_topics, topics_of_store
from eventkit.storage.db import connect
from eventkit.storage.events import Missing
from eventkit.storage.projections import Live
from eventkit.transports.base import Flag, Transport, open_history
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

PATIENCE = 30.0  # seconds without a message, after which what is missing is taken to be nowhere
_LOOK = 1.0  # seconds between looks at how far it is
_KEPT = 32_000_000  # bytes that are received under a swap's lock, at most
_UNDER_LOCK = 2.0  # seconds that a swap may wait for messages


class TransportFeeder:
    """One rebuild's member of its group, on one thread."""

    def __init__(self, feeder: StoreFeeder, source: TransportSource, *, schema: str, stop: Stop) -> None:
        """Apply to the generation that `feeder` was to feed, on its connections."""
        self.building = feeder.building
        self._feeder = feeder
        self._source = source
        self._projector = Projector(feeder.building, history=feeder.history, schema=schema, stop=stop)
        self._kept: list[Message] = []  # received under a swap's lock, and not applied by themselves yet
        self._heard = False  # whether anything came
        self._silent = 0.0  # seconds that were waited since

    def work(self, told: Told, *, until: int) -> None:
        """Apply what comes until at most `until` events are missing that the live generation has, or until a stop."""
        while not self._projector.stop.is_set():
            self._listen(told)
            behind = self.behind()
            if behind <= (until if self._heard else 0):  # joining takes time, and a swap is not to wait for it
                return
            self._refuse_silence(f"{behind:,} events that the live read model has applied")

    def behind(self) -> int:
        """Return how many events the live generation has applied and this one has not; parked streams do not count."""
        building = self.building
        with building.workspace.transaction() as connection:
            live = self._live(connection)
            lagging = building.checkpoints.lagging(connection, building.rebuild.generation, live.generation)
        reads = building.projection.reads
        return sum(there - here for stream, here, there, parked in lagging if not parked and reads(stream))

    def refuse_without_end(self) -> None:
        """Refuse where the live generation has applied nothing: it says how far to read."""
        with self.building.workspace.transaction() as connection:
            if self.building.checkpoints.any(connection, self._live(connection).generation):
                return
        raise RebuildRefused(
            f"projection {self._projector.projection.name!r} has applied nothing yet, so nothing says how far the "
            "transport is to be read: start its projector, which begins at the earliest message, or rebuild from the "
            "store (--from store)"
        )

    def parts(self, chunk: list[Missing]) -> Iterator[list[Run]]:
        """Return what a swap lacks: from the store, or from the transport where the store has not all of it."""
        read = 0
        try:
            for part in self._feeder.parts(chunk):
                read += 1
                yield part
        except RebuildRefused:  # another service's store
            if read:
                raise
            yield self._received(chunk)

    def _received(self, chunk: Sequence[Missing]) -> list[Run]:
        deadline = time.monotonic() + _UNDER_LOCK
        while True:
            found = {run.stream: run for run in gather(self._kept).runs}
            runs = [_part(found.get(item.stream), item) for item in chunk]
            whole = [run for run in runs if run is not None]
            if len(whole) == len(chunk):
                return whole
            lacking = f"{len(chunk) - len(whole):,} streams to where the live read model has them"
            self._refuse_silence(lacking)
            if time.monotonic() > deadline:
                raise SwapBlocked(f"the transport has not brought {lacking}")
            self._kept += self._receive()
            if total_size(self._kept) > _KEPT:
                raise SwapBlocked("the transport has brought more than is applied under a lock: it is applied before")

    def _listen(self, told: Told) -> None:
        """Apply what comes for a while, or until nothing is there."""
        began = time.monotonic()
        while not self._projector.stop.is_set() and time.monotonic() - began < _LOOK:
            messages, self._kept = self._kept or self._receive(), []
            if not messages:
                return
            applied, parked = self._projector.counters.applied, self._projector.counters.parked
            self._projector.apply(messages)
            # crash point: applied from the transport, not acknowledged -> delivered again, skipped as duplicates
            self._source.acknowledge(messages)
            told(self._projector.counters.applied - applied)
            if self._projector.counters.parked > parked:
                self._refuse_gaps()

    def _receive(self) -> list[Message]:
        began = time.monotonic()
        messages = self._source.receive()
        self._heard = self._heard or bool(messages)
        self._silent = 0.0 if messages else self._silent + time.monotonic() - began
        return messages

    def _refuse_gaps(self) -> None:
        building = self.building
        with building.workspace.transaction() as connection:
            live = self._live(connection)
            parked = building.checkpoints.newly_parked(connection, building.rebuild.generation, live.generation)
        newly = set(parked)
        gaps = [stream for stream in self._projector.held_streams() if stream in newly] if newly else []
        if gaps:
            raise RebuildRefused(
                f"events of {len(gaps):,} streams are missing in the transport and in the store, as of {gaps[0]}: the "
                "topics' beginning is no longer there (retention), or --store-url must name the store; the live read "
                "model is as it was"
            )

    def _refuse_silence(self, lacking: str) -> None:
        if self._silent > PATIENCE:
            raise RebuildRefused(
                f"the transport has not brought {lacking}, and nothing more came for {PATIENCE:g} s: the topics' "
                "beginning is no longer there (retention), or --topic names others, or the relay is behind; the live "
                "read model is as it was: rebuild it from the store (--from store)"
            )

    def _live(self, connection: psycopg.Connection[Any]) -> Live:
        name = self._projector.projection.name
        live = self.building.projections.fence(connection, name)
        if live is None:
            raise RebuildRefused(f"projection {name!r} was deleted while it was rebuilt")
        return live


@contextmanager
def listening(
    feeder: StoreFeeder, job: Job, settings: Settings, topics: Sequence[str], *, stop: Stop
) -> Iterator[TransportFeeder]:
    """Join a group that is this rebuild's alone, and lend its listener; the group goes with it."""
    transport = open_history(settings.require_transport(), settings.transport_options)
    if transport is None:
        raise RebuildRefused(
            f"this broker keeps no history ({Flag.NO_HISTORY.name}): a read model is rebuilt from the store "
            "(--from store)"
        )
    try:
        read = _topics(feeder, job, topics)
        # Fresh where a rebuild is gone on with, too: the dead member of its group still holds the topics for a while.
        group = f"{job.name}-rebuild-{job.rebuild.generation}-{uuid4().hex[:8]}"
        source = TransportSource(transport.subscribe(read, group))
        try:
            listener = TransportFeeder(feeder, source, schema=job.schema, stop=stop)
            listener.refuse_without_end()
            logger.info("the rebuild of %s reads %s as group %s", job.name, ", ".join(read), group)
            yield listener
        finally:
            source.close()
            _forget(transport, read, group)
    finally:
        transport.close()


def _topics(feeder: StoreFeeder, job: Job, given: Sequence[str]) -> list[str]:
    projection = feeder.building.projection
    topics = known_topics(projection, given)
    if not topics:
        with connect(job.store_url, name=f"rebuild topics {job.name}", schema=job.schema, autocommit=True) as store:
            topics = topics_of_store(projection, store, job.schema)
    if not topics:
        raise RebuildRefused(f"no topic of {job.name!r} is known, its store has no events: name them with --topic")
    return topics


def _forget(transport: Transport, topics: Sequence[str], group: str) -> None:
    try:
        transport.forget(topics, group)
    except TransportError as error:
        logger.warning("group %s stays at the broker: %s", group, error)


def _part(run: Run | None, item: Missing) -> Run | None:
    """Return the events that are missing; None unless all of them are there."""
    arrivals = [arrival for arrival in run.arrivals if item.low < arrival.version <= item.high] if run else []
    whole = [arrival.version for arrival in arrivals] == list(range(item.low + 1, item.high + 1))
    return Run(item.stream, arrivals) if whole else None
