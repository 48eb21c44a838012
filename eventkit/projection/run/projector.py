"""Run a projection: receive a batch, apply it in one transaction, handle the streams that did not advance, acknowledge.

    source --receive--> runs of streams --apply--> read model + checkpoints --acknowledge--> source
                             |  did not advance, or failed (found by halves)
                             +--> one stream alone: dropped, repaired, applied, or parked

A message is acknowledged when its effect or its dead letter is committed, or when it is a duplicate. If the process
dies before, the message is delivered again, and the checkpoint shows whether it was applied. Called by the
`eventkit projector` command; one thread uses one projector.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

from eventkit.domain.message import Message
from eventkit.errors import ProjectionError
from eventkit.observability import metrics
from eventkit.observability.liveness import waiting_for
from eventkit.observability.tracing import PROCESS, messages_span
from eventkit.projection.apply import BatchApplier, EventIsolation, StreamRedrive, StreamRepair, waves
from eventkit.projection.batch import Run, Source, gather
from eventkit.projection.counters import Counters
from eventkit.projection.failure import SetAside
from eventkit.projection.reached import Reached
from eventkit.projection.run.resume import Begin, Begun, ResumePoints
from eventkit.projection.run.shard_times import ShardTimes
from eventkit.projection.run.waits_report import WaitsReport
from eventkit.storage.dead_letters import Letter
from eventkit.storage.events import History
from eventkit.storage.projections import WaitingHandler
from eventkit.worker import Stop

if TYPE_CHECKING:
    from eventkit.transports.base import Mark

logger = logging.getLogger("eventkit.projection")

REPORT_INTERVAL = 10.0  # seconds between log lines
HELD_INTERVAL = 30.0  # seconds between retries of streams that wait for missing events
FULL_WAIT = 0.1  # seconds between retries of waiting streams, while nothing more is received
REDRIVE_INTERVAL = 1.0  # seconds between queries for redrives that an operator has requested
RETRY_TIME = 1.0  # seconds that one retry of waiting streams may take


class Projector:
    """Projects with one applier, or with several in lanes."""

    def __init__(
        self,
        applier: BatchApplier,
        *,
        history: History,
        stop: Stop | None = None,
        aside: SetAside | None = None,
        lanes: Sequence[BatchApplier] = (),
        counters: Counters | None = None,
    ) -> None:
        """Project with `applier`; its connection and `history` belong to this projector alone.

        `aside` keeps the streams that wait for an unavailable service; without it, the whole projection waits. `lanes`
        are further appliers: they apply parts of a batch at the same time, each on its own connection. `counters` are
        new unless given.
        """
        self.projection = applier.projection
        self.counters = counters or Counters()
        self.shard_times = ShardTimes()
        self.stop = stop or Stop()
        self.group = ""  # the projection's consumer group, known once it is registered
        self._source = {"messaging.system": "eventkit"}  # in spans: the store, unless a broker is read
        self._idle_since = time.monotonic()  # the end of the last batch
        self._marks: dict[tuple[str, int], Mark] = {}  # by topic and shard: places that are not saved yet
        self._applier = applier
        self._aside = aside
        self._full_logged = -HELD_INTERVAL  # time of the last warning that the waiting streams are full
        repair = StreamRepair(applier, history)
        self._parking = repair.parking
        self._isolation = isolation = EventIsolation(applier, repair, self.stop, set_aside=aside, lanes=lanes)
        self._transactions = isolation.transactions
        self.redrives = StreamRedrive(applier, isolation, repair.parking, counters=self.counters, stop=self.stop)
        self._has_lanes = bool(lanes)
        self._waits_report = None if aside is None else WaitsReport(aside, self._write_waits)

    def start(self, *, known: bool = False) -> int:
        """Register the projection, check its version and its table, and retry the streams with missing events.

        Return the position up to which the store has been read.
        """
        position = self.register(known=known)
        if self._waits_report is not None:
            self._waits_report.start()
        self.redrives.retry_held()
        self._idle_since = time.monotonic()
        return position

    def register(self, *, known: bool = False) -> int:
        """Register the projection unless it is `known`, and check it; return the position that the store is read to."""
        live, self.group = self._transactions.certainly(partial(self._applier.register, known=known))
        return live.position

    def report_waits(self) -> None:
        """Write to the database which handlers' events wait in this process, if that has changed."""
        if self._waits_report is not None:
            self._waits_report.report()

    def _write_waits(self, process: str, waiting: Sequence[WaitingHandler]) -> None:
        self._transactions.certainly(lambda: self._applier.write_waits(process, waiting))

    def is_new(self) -> bool:
        """Return whether no process has applied an event yet."""
        return self._transactions.certainly(self._applier.begins)

    def reset_position(self) -> None:
        """Set the saved position to the beginning of the store."""
        self._transactions.certainly(self._applier.read_again)

    def resume_points(self, begin: Begin, completed: Begun | None = None) -> ResumePoints:
        """Return the places at which this projector resumes reading at a broker."""
        return ResumePoints(self._applier, begin=begin, completed=completed)

    def read_broker(self, system: str, group: str) -> None:
        """Name the messaging system and the consumer group in spans: the messages come from a broker."""
        self._source = {"messaging.system": system, "messaging.consumer.group.name": group}

    def record_group(self, group: str, broker: str, topics: Sequence[str]) -> None:
        """Record a consumer group at a broker before joining it."""
        self._transactions.certainly(lambda: self._applier.follow(group, broker, topics))

    def run(self, source: Source, *, keep_running: Callable[[], bool] = lambda: True) -> None:
        """Apply batches until `stop` is set or `keep_running` returns False; log the counters every ten seconds."""
        retried_at = reported_at = time.monotonic()
        redriven_at = 0.0
        reported = str(self.counters)
        try:
            while not self.stop.is_set() and keep_running():
                self.step(source)
                if time.monotonic() - redriven_at > REDRIVE_INTERVAL:
                    self.redrives.serve()
                    redriven_at = time.monotonic()
                self.report_waits()
                now = time.monotonic()
                if now - reported_at > REPORT_INTERVAL and reported != str(self.counters):
                    reported_at, reported = now, str(self.counters)
                    self.report()
                if now - retried_at > HELD_INTERVAL:
                    retried_at = now
                    self.redrives.retry_held()
        finally:
            self.report()

    def step(self, source: Source) -> int:
        """Apply the next batch, and retry waiting streams; return how many messages the batch had."""
        with waiting_for("messages"):
            is_full = self._is_full()
            messages = [] if is_full else source.receive()
        if messages:
            metrics.PROJECTION_BATCH.observe(len(messages), self.projection.name)
        self._marks.update({(mark.topic, mark.shard): mark for mark in source.marks(messages)} if messages else {})
        reached = Reached(source.position, list(self._marks.values()))
        if messages and not self._apply(messages, Reached(None) if self.projection.answers else reached):
            return len(messages)
        if (messages or self._aside) and self._retry_waiting():
            if not self.projection.answers:
                self._save(reached)
            # crash point: committed, not acknowledged -> delivered again, skipped as duplicates
            with waiting_for("the broker"):
                source.acknowledge(self._finished(messages, source))
            if self.projection.answers:  # saved earlier, a restart would skip requests whose replies were not sent
                self._save(reached)
            if messages:
                self._idle_since = time.monotonic()
        if not is_full:
            self.shard_times.applied(messages, from_store=source.position is not None)
        metrics.WAITING_STREAMS.set(len(self._aside) if self._aside else 0, self.projection.name)
        return len(messages)

    def apply(self, messages: Sequence[Message], *, position: int | None = None) -> bool:
        """Apply, park or skip each message, then commit.

        `position` is saved as the place to read on from, if the messages came from the store. Return False if the
        projector was stopped before the end, or if messages wait: then do not acknowledge them.
        """
        reached = Reached(position)
        if not self._apply(messages, reached):
            return False
        self._save(reached)
        return not self._aside

    def _apply(self, messages: Sequence[Message], reached: Reached) -> bool:
        """Apply messages, or set their streams aside; return False if stopped."""
        from_store = reached.position is not None
        batch = gather(messages, from_store=from_store, unversioned=self.projection.unversioned)
        self.counters.duplicates += batch.duplicates
        read = self._read_of(batch.runs)
        parts = waves(read, most=self.projection.batch) if self._has_lanes else [read]
        alone = batch.malformed or self._aside or len(parts) > 1
        done = True
        with self._span(read):
            for part in parts:
                runs = self._aside.sort_out(part) if self._aside is not None else part
                done = done and self._apply_runs(runs, reached=None if alone or self._aside else reached)
        self._keep_malformed(batch.malformed)
        return done

    def _read_of(self, runs: list[Run]) -> list[Run]:
        """Return the runs of the categories that the projection reads; count the events of the others."""
        if not self.projection.categories:
            return runs
        read = [run for run in runs if self.projection.reads(run.stream)]
        self.counters.unhandled += sum(len(run.arrivals) for run in runs) - sum(len(run.arrivals) for run in read)
        return read

    def _span(self, runs: Sequence[Run]) -> AbstractContextManager[object]:
        """Open the span of a batch; without an SDK of OpenTelemetry nothing is looked at."""
        messages = (arrival.message for run in runs for arrival in run.arrivals)
        attributes = {**self._source, "eventkit.projection": self.projection.name}
        return messages_span(PROCESS, messages, attributes=attributes)

    def _apply_runs(self, runs: Sequence[Run], *, reached: Reached | None = None) -> bool:
        odd = [run for run in runs if not run.whole]
        whole = [run for run in runs if run.whole] if odd else runs
        left = self._isolation.apply(whole, self.counters, reached=None if odd else reached)
        return all(self._isolation.repair(run, self.counters) for run in [*odd, *left])

    def _is_full(self) -> bool:
        """Return whether too much waits to receive more; log it at first, then every half minute."""
        if self._aside is None or not self._aside.is_full:
            return False
        if time.monotonic() - self._full_logged > HELD_INTERVAL:
            self._full_logged = time.monotonic()
            logger.warning(
                "%s receives nothing more: %d streams wait, with %d MB, %d of them for locks",
                self.projection.name,
                len(self._aside),
                self._aside.size // 1_000_000,
                self._aside.locked,
            )
        self.stop.wait(FULL_WAIT)
        return True

    def _retry_waiting(self) -> bool:
        """Retry waiting streams for about a second; return False if stopped in the middle of one."""
        deadline = time.monotonic() + RETRY_TIME
        while self._aside and not self.stop.is_set() and time.monotonic() < deadline:
            runs = self._aside.take(self.projection.batch)
            if not runs:
                break
            waited = len(self._aside)
            with self._span(runs):
                done = self._isolation.repair(runs[0], self.counters) if len(runs) == 1 else self._apply_runs(runs)
            if not done:
                return False
            if len(self._aside) <= waited:
                self._idle_since = time.monotonic()
        return True

    def _finished(self, messages: Sequence[Message], source: Source) -> Sequence[Message]:
        """Return the messages to acknowledge now; a store's position needs no acknowledgement."""
        if self._aside is None or source.position is not None:
            return messages
        return self._aside.hold(messages)

    def _save(self, reached: Reached) -> None:
        """Save how far the source was read: below the first waiting event."""
        if self._aside is not None and self._aside:
            position = None if reached.position is None else self._aside.floor(reached.position)
            reached = Reached(position)
        unsaved = self._applier.unsaved(reached)
        if unsaved is not None:
            self._transactions.certainly(lambda: self._applier.save(unsaved))
        if not self._aside:
            self._marks.clear()

    def report(self) -> None:
        """Log the counters, and how often faults were repeated."""
        self._parking.rarely.flush(at_end=self.stop.is_set())
        logger.info("projector %s: %s", self.projection.name, self.counters)

    def idle_seconds(self, source: Source) -> float:
        """Return the seconds since the last batch; 0 while the source is not ready, or a failed event waits."""
        if not source.ready or (self._aside is not None and self._aside.has_attempts):
            self._idle_since = time.monotonic()
            return 0.0
        return time.monotonic() - self._idle_since

    def refuse_waiting(self) -> None:
        """Raise ProjectionError if streams wait for a service that a handler calls."""
        if self._aside:
            reasons = "; ".join(f"{breaker.handler.name}: {breaker.reason}" for breaker in self._aside.breakers)
            raise ProjectionError(
                f"{len(self._aside)} streams of projection {self.projection.name!r} wait, and nothing else came "
                f"({reasons or 'they are tried again in a while'})"
            )

    def _keep_malformed(self, malformed: Sequence[tuple[Message, str]]) -> None:
        if malformed:
            letters = [
                (message.key, Letter(0, _digest(message), "", "malformed", reason, 1, message))
                for message, reason in malformed
            ]
            self._transactions.certainly(lambda: self._parking.keep_malformed(letters, self.counters))


def _digest(message: Message) -> UUID:
    """Return an id for a message without one: the same for the same content."""
    return uuid5(NAMESPACE_OID, repr((message.topic, message.key, message.value, message.headers)))
