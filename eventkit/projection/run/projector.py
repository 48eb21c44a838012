"""Runs a projection: receive, apply in one transaction, take a second look at what did not advance, acknowledge.

    source --receive--> runs of streams --apply--> read model + checkpoints --acknowledge--> source
                             |  did not advance, or failed (found by halves)
                             +--> second look: dropped, repaired, applied, or parked with its stream

A message is acknowledged when its effect, its dead letter or the fact that it is a duplicate is committed: whatever
dies before is delivered again, and its checkpoint says what has been done. Called by the `eventkit projector` command;
one projector is used by one thread.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

from eventkit.domain.message import Message
from eventkit.errors import ProjectionError
from eventkit.projection.apply import BatchApplier, EventIsolation, StreamParking, waves
from eventkit.projection.batch import Run, Source, gather
from eventkit.projection.counters import Counters
from eventkit.projection.failure import SetAside
from eventkit.projection.reached import Reached
from eventkit.projection.run.resume import Begin, ResumePoints
from eventkit.projection.run.waits_report import WaitsReport
from eventkit.storage.dead_letters import Letter
from eventkit.storage.events import History
from eventkit.storage.projections import WaitingHandler
from eventkit.worker import Stop

if TYPE_CHECKING:
    from eventkit.transports.base import Mark

logger = logging.getLogger("eventkit.projection")

REPORT = 10.0  # seconds between log lines
HELD = 30.0  # seconds between looks at streams that wait for missing events
FULL = 0.1  # seconds between looks at streams that wait, while nothing more is received
ASKED = 1.0  # seconds between looks for redrives that an operator has asked for, and the longest that one look takes


class Projector:
    """One projection on one connection; `counters` may be replaced before the first batch."""

    def __init__(
        self,
        applying: BatchApplier,
        *,
        history: History,
        schema: str = "eventkit",
        stop: Stop | None = None,
        aside: SetAside | None = None,
        lanes: Sequence[BatchApplier] = (),
    ) -> None:
        """Put the parts together; the connection that `applying` works on, and history, are this projector's alone.

        Streams wait in `aside`; without it, whatever a handler calls and is away holds up all of them. `lanes` apply
        parts of a batch on connections of their own, at the same time.
        """
        self.projection = applying.projection
        self.counters = Counters()
        self.stop = stop or Stop()
        self.worked = time.monotonic()  # when the last batch was done
        self._schema = schema
        self._marks: dict[tuple[str, int], Mark] = {}  # of shards, what has not been saved yet
        self._applying = applying
        self._aside = aside
        self._full_told = -HELD  # when
        self._held_upto = ""  # the last stream that was looked at, where a look has not come to the end
        self._second = StreamParking(self._applying, history, schema=schema)
        self._culprits = EventIsolation(self._applying, self._second, self.stop, set_aside=aside, lanes=lanes)
        self._has_lanes = bool(lanes)
        self._waits = None if aside is None else WaitsReport(aside, self._write_waits)

    def start(self, *, known: bool = False) -> int:
        """Register the projection, check its version and its table, and try the streams that wait for missing events.

        Return how far the store has been read.
        """
        position = self._applying.saved = self.register(known=known)
        if self._waits is not None:
            self._waits.start()
        self.look_at_held()
        return position

    def register(self, *, known: bool = False) -> int:
        """Register the projection unless it is `known`, and check it; return how far the store has been read."""
        return self._culprits.certainly(partial(self._applying.register, known=known)).position

    def tell_waits(self) -> None:
        """Let other processes know which handlers' events wait in this one, where that has changed."""
        if self._waits is not None:
            self._waits.tell()

    def _write_waits(self, process: str, waiting: Sequence[WaitingHandler]) -> None:
        self._culprits.certainly(lambda: self._applying.write_waits(process, waiting))

    @property
    def has_attempts(self) -> bool:
        """Whether an event that has failed will be tried again soon, or parked."""
        return self._aside is not None and self._aside.has_attempts

    def begins(self) -> bool:
        """Return whether nothing was applied yet, by anybody."""
        return self._culprits.certainly(self._applying.begins)

    def read_again(self) -> None:
        """Let the store be read from its beginning."""
        self._culprits.certainly(self._applying.read_again)

    @property
    def group(self) -> str:
        """The projection's consumer group; known when it is registered."""
        return self._applying.group

    def resuming(self, begin: Begin) -> ResumePoints:
        """Return what says where this projector resumes reading at a broker."""
        return ResumePoints(self._applying, schema=self._schema, begin=begin)

    def follows(self, group: str, broker: str, topics: Sequence[str]) -> None:
        """Record a group at a broker that is about to be joined."""
        self._culprits.certainly(lambda: self._applying.follow(group, broker, topics))

    def run(self, source: Source, *, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Work until `stop` is set or `goes_on` says no; report now and then."""
        looked = reported = time.monotonic()
        asked = 0.0
        told = str(self.counters)
        try:
            while not self.stop.is_set() and goes_on():
                self.step(source)
                if time.monotonic() - asked > ASKED:
                    self.redrive_asked()
                    asked = time.monotonic()
                self.tell_waits()
                now = time.monotonic()
                if now - reported > REPORT and told != str(self.counters):
                    reported, told = now, str(self.counters)
                    self.report()
                if now - looked > HELD:
                    looked = now
                    self.look_at_held()
        finally:
            self.report()

    def step(self, source: Source) -> int:
        """Apply the next batch, and streams that have waited; return how many messages the batch had."""
        messages = [] if self._is_full() else source.receive()
        self._marks.update({(mark.topic, mark.shard): mark for mark in source.marks(messages)} if messages else {})
        reached = Reached(source.position, list(self._marks.values()))
        if messages and not self._apply(messages, Reached(None) if self.projection.answers else reached):
            return len(messages)
        if (messages or self._aside) and self._take_up():
            if not self.projection.answers:
                self._save(reached)
            # crash point: committed, not acknowledged -> delivered again, skipped as duplicates
            source.acknowledge(self._settled(messages, source))
            if self.projection.answers:  # saved before, it would pass over requests whose replies have not left
                self._save(reached)
            if messages:
                self.worked = time.monotonic()
        return len(messages)

    def apply(self, messages: Sequence[Message], *, position: int | None = None) -> bool:
        """Give each message its effect, or a place among the dead letters, or nothing if it had it before; and commit.

        `position` is where the store is to be read from after these messages, where they came from it. False when asked
        to stop before all had theirs, or when some wait: they are not to be acknowledged.
        """
        reached = Reached(position)
        if not self._apply(messages, reached):
            return False
        self._save(reached)
        return not self._aside

    def _apply(self, messages: Sequence[Message], reached: Reached) -> bool:
        """Apply messages, or set their streams aside; False when asked to stop."""
        from_store = reached.position is not None
        batch = gather(messages, from_store=from_store, unversioned=self.projection.unversioned)
        self.counters.duplicates += batch.duplicates
        read = [run for run in batch.runs if self.projection.reads(run.stream)]
        self.counters.unhandled += sum(len(run.arrivals) for run in batch.runs) - sum(len(run.arrivals) for run in read)
        parts = waves(read, most=self.projection.batch) if self._has_lanes else [read]
        alone = batch.malformed or self._aside or len(parts) > 1
        done = True
        for part in parts:
            runs = self._aside.sort_out(part) if self._aside is not None else part
            done = done and self._apply_runs(runs, reached=None if alone or self._aside else reached)
        self._keep_malformed(batch.malformed)
        return done

    def _apply_runs(self, runs: Sequence[Run], *, reached: Reached | None = None) -> bool:
        whole = [run for run in runs if run.whole]
        odd = [run for run in runs if not run.whole]
        left = self._culprits.apply(whole, self.counters, reached=None if odd else reached)
        return all(self._culprits.repair(run, self.counters) for run in [*odd, *left])

    def _is_full(self) -> bool:
        """Whether so much waits that nothing more is received for now; say so, once and then every half minute."""
        if self._aside is None or not self._aside.is_full:
            return False
        if time.monotonic() - self._full_told > HELD:
            self._full_told = time.monotonic()
            logger.warning(
                "%s receives nothing more: %d streams wait, with %d MB, %d of them for locks",
                self.projection.name,
                len(self._aside),
                self._aside.size // 1_000_000,
                self._aside.locked,
            )
        self.stop.wait(FULL)
        return True

    def _take_up(self) -> bool:
        """Try streams that have waited, for a second or so; False when asked to stop before one was through."""
        deadline = time.monotonic() + ASKED
        while self._aside and not self.stop.is_set() and time.monotonic() < deadline:
            runs = self._aside.take(self.projection.batch)
            if not runs:
                break
            waited = len(self._aside)
            done = self._culprits.repair(runs[0], self.counters) if len(runs) == 1 else self._apply_runs(runs)
            if not done:
                return False
            if len(self._aside) <= waited:
                self.worked = time.monotonic()
        return True

    def _settled(self, messages: Sequence[Message], source: Source) -> Sequence[Message]:
        """Return the messages to acknowledge now; a position says it for the store."""
        if self._aside is None or source.position is not None:
            return messages
        return self._aside.hold(messages)

    def _save(self, reached: Reached) -> None:
        """Remember how far the source was read: below the first event that waits."""
        if self._aside is not None and self._aside:
            position = None if reached.position is None else self._aside.floor(reached.position)
            reached = Reached(position)
        unsaved = self._applying.unsaved(reached)
        if unsaved is not None:
            self._culprits.certainly(lambda: self._applying.save(unsaved))
        if not self._aside:
            self._marks.clear()

    def report(self) -> None:
        """Write the counters into the log."""
        logger.info("projector %s: %s", self.projection.name, self.counters)

    def look_at_held(self) -> None:
        """Look again, for a second or so, at the streams that wait for missing events: the store may have them now.

        Where there are more, the next look goes on with those.
        """
        deadline = time.monotonic() + ASKED
        for stream in self.held(self._held_upto):
            self._culprits.repair(Run(stream, []), self.counters)
            self._held_upto = stream
            if self.stop.is_set() or time.monotonic() > deadline:
                return
        self._held_upto = ""

    def held(self, after: str = "") -> Iterator[str]:
        """Yield the streams that wait for missing events and for nothing else, in order."""
        while found := self._culprits.certainly(partial(self._second.held, after)):
            yield from found
            after = found[-1]

    def redrive_asked(self, reserved_for: str | None = None) -> int:
        """Redrive what an operator has asked for, for a second or so; return how many streams were tried."""
        deadline = time.monotonic() + ASKED
        tried = 0
        for stream in self._culprits.certainly(partial(self._second.asked, reserved_for)):
            if self.stop.is_set() or time.monotonic() > deadline:
                break
            if not self._culprits.repair(Run(stream, []), self.counters, redrive=True):
                break  # something that its handler calls is away: it stays asked for
            goes_on = not self.is_parked(stream)
            logger.info("%s redrives %s: it %s", self.projection.name, stream, "goes on" if goes_on else "stays parked")
            tried += 1
        return tried

    def redrive(self, stream: str) -> bool:
        """Apply a parked stream's letters in order; return whether it goes on. What fails again stays, and says why."""
        self._culprits.repair(Run(stream, []), self.counters, redrive=True)
        return not self.is_parked(stream)

    def is_parked(self, stream: str) -> bool:
        """Return whether a stream is parked."""
        return self._culprits.certainly(lambda: self._second.is_parked(stream))

    def refuse_waiting(self) -> None:
        """Raise ProjectionError where streams wait for something that a handler calls."""
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
            self._culprits.certainly(lambda: self._second.keep_malformed(letters, self.counters))


def _digest(message: Message) -> UUID:
    """Return an id for a message that has none: the same for the same content."""
    return uuid5(NAMESPACE_OID, repr((message.topic, message.key, message.value, message.headers)))
