"""Feed a rebuild from the transport: a consumer group of its own reads the topics from their beginning.

It has read enough when every stream is at the live generation's checkpoint. If the messages end before, the topics lack
the beginning of a stream, and the rebuild is refused. It reads missing events from the store, as a projector does. The
store may have no events of other services.
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
from eventkit.projection.rebuild.from_store import OnApplied, StoreFeeder, Versions
from eventkit.projection.rebuild.swap import SwapBlocked
from eventkit.projection.rebuild.worker_job import Job
from eventkit.projection.run import Projector, TransportSource, known_topics, topics_of_store
from eventkit.storage.db import connect
from eventkit.storage.events import Missing
from eventkit.storage.projections import Live, lagging_streams, newly_parked
from eventkit.transports.base import Flag, Transport, open_history
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

SILENCE_LIMIT = 30.0  # seconds without a message until the rebuild is refused
_LAG_CHECK_INTERVAL = 1.0  # seconds between queries of the missing events
_MAX_KEPT_BYTES = 32_000_000  # received under a swap's lock
_LOCKED_WAIT = 2.0  # seconds that a swap may wait for messages


class TransportFeeder:
    """The member of a rebuild's consumer group, on one thread."""

    def __init__(self, feeder: StoreFeeder, source: TransportSource, *, stop: Stop) -> None:
        """Apply to the generation of `feeder`, on its connections."""
        self.applier = feeder.applier
        self.versions: Versions | None = None  # the store may be another service's
        self._feeder = feeder
        self._source = source
        self._projector = Projector(feeder.applier, history=feeder.history, stop=stop)
        self._kept: list[Message] = []  # received under a swap's lock, and not applied yet
        self._has_received = False  # at least one message
        self._silence = 0.0  # seconds of waiting since the last message

    def work(self, on_applied: OnApplied, *, until: int) -> None:
        """Apply messages until at most `until` events of the live generation are missing, or until stopped."""
        while not self._projector.stop.is_set():
            self._apply_for_a_while(on_applied)
            behind = self.behind()
            if behind <= (until if self._has_received else 0):  # joining a group takes time: not during a swap
                return
            self._refuse_silence(f"{behind:,} events that the live read model has applied")

    def behind(self) -> int:
        """Return how many events the live generation has applied and this one has not, without parked streams."""
        applier = self.applier
        with applier.workspace.transaction() as connection:
            live = self._live(connection)
            new = applier.rebuild.generation
            lagging = lagging_streams(connection, applier.schema, new=new, live=live.generation)
        reads = applier.projection.reads
        return sum(lag.version - lag.applied for lag in lagging if not lag.parked and reads(lag.stream))

    def refuse_without_end(self) -> None:
        """Raise RebuildRefused if the live generation has applied nothing: then the end to read to is unknown."""
        with self.applier.workspace.transaction() as connection:
            if self.applier.checkpoints.any(connection, self._live(connection).generation):
                return
        raise RebuildRefused(
            f"projection {self._projector.projection.name!r} has applied nothing yet, so it is unknown how far "
            "to read the transport: start its projector, which begins at the earliest message, or rebuild from the "
            "store (--from store)"
        )

    def parts(self, chunk: list[Missing]) -> Iterator[list[Run]]:
        """Yield the events that a swap lacks: from the store, or from the transport if the store lacks some."""
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
        deadline = time.monotonic() + _LOCKED_WAIT
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
            if total_size(self._kept) > _MAX_KEPT_BYTES:
                raise SwapBlocked(
                    "the transport has brought more than may be applied under a lock: it is applied first"
                )

    def _apply_for_a_while(self, on_applied: OnApplied) -> None:
        """Apply messages for a second, or until none is available."""
        began = time.monotonic()
        while not self._projector.stop.is_set() and time.monotonic() - began < _LAG_CHECK_INTERVAL:
            messages, self._kept = self._kept or self._receive(), []
            if not messages:
                return
            applied, parked = self._projector.counters.applied, self._projector.counters.parked
            self._projector.apply(messages)
            # crash point: applied from the transport, not acknowledged -> delivered again, skipped as duplicates
            self._source.acknowledge(messages)
            on_applied(self._projector.counters.applied - applied)
            if self._projector.counters.parked > parked:
                self._refuse_gaps()

    def _receive(self) -> list[Message]:
        began = time.monotonic()
        messages = self._source.receive()
        self._has_received = self._has_received or bool(messages)
        self._silence = 0.0 if messages else self._silence + time.monotonic() - began
        return messages

    def _refuse_gaps(self) -> None:
        applier = self.applier
        with applier.workspace.transaction() as connection:
            live = self._live(connection)
            new = applier.rebuild.generation
            newly = set(newly_parked(connection, applier.schema, new=new, live=live.generation))
        gaps = [stream for stream in self._projector.redrives.held() if stream in newly] if newly else []
        if gaps:
            raise RebuildRefused(
                f"events of {len(gaps):,} streams are missing in the transport and in the store, as of {gaps[0]}: the "
                "topics' beginning is no longer there (retention), or --store-url must name the store; the live read "
                "model is as it was"
            )

    def _refuse_silence(self, lacking: str) -> None:
        if self._silence > SILENCE_LIMIT:
            raise RebuildRefused(
                f"the transport has not brought {lacking}, and nothing more came for {SILENCE_LIMIT:g} s: the topics' "
                "beginning is no longer there (retention), or --topic names others, or the relay is behind; the live "
                "read model is as it was: rebuild it from the store (--from store)"
            )

    def _live(self, connection: psycopg.Connection[Any]) -> Live:
        name = self._projector.projection.name
        live = self.applier.projections.fence(connection, name)
        if live is None:
            raise RebuildRefused(f"projection {name!r} was deleted while it was rebuilt")
        return live


@contextmanager
def open_transport_feeder(
    feeder: StoreFeeder, job: Job, settings: Settings, topics: Sequence[str], *, stop: Stop
) -> Iterator[TransportFeeder]:
    """Join a new consumer group, and yield a feeder that reads with it; remove the group afterwards."""
    transport = open_history(settings.require_transport(), settings.transport_options)
    if transport is None:
        raise RebuildRefused(
            f"this broker keeps no history ({Flag.NO_HISTORY.name}): a read model is rebuilt from the store "
            "(--from store)"
        )
    try:
        read = _topics(feeder, job, topics)
        # A new group for a resumed rebuild, too: the dead member of its old group holds the topics for a while.
        group = f"{job.name}-rebuild-{job.rebuild.generation}-{uuid4().hex[:8]}"
        source = TransportSource(transport.subscribe(read, group))
        try:
            reader = TransportFeeder(feeder, source, stop=stop)
            reader.refuse_without_end()
            logger.info("the rebuild of %s reads %s as group %s", job.name, ", ".join(read), group)
            yield reader
        finally:
            source.close()
            _forget(transport, read, group)
    finally:
        transport.close()


def _topics(feeder: StoreFeeder, job: Job, given: Sequence[str]) -> list[str]:
    projection = feeder.applier.projection
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
    """Return the run of the missing events; None unless it has all of them."""
    arrivals = [arrival for arrival in run.arrivals if item.low < arrival.version <= item.high] if run else []
    whole = [arrival.version for arrival in arrivals] == list(range(item.low + 1, item.high + 1))
    return Run(item.stream, arrivals) if whole else None
