"""Repairs, parks and redrives one stream at a time, each in a transaction that locks the stream's checkpoint.

A parked stream keeps its later events in `dead_letters`, in order, and a redrive applies them in order. A stream that
is parked only for a gap continues by itself once the missing events are there. `stream_repair` has the repair itself.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from eventkit.domain.header_values import shown
from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.projection.apply.applier import SHORT_WAIT, BatchApplier
from eventkit.projection.apply.classify import is_next
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Verdict
from eventkit.projection.apply.letter import Why, event_fields, letter, waiting
from eventkit.projection.apply.stream_repair import RepairParts, StreamRepair
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import DeadLetters, Letter
from eventkit.storage.events import History
from eventkit.storage.projections import Live, parked_by

logger = logging.getLogger("eventkit.projection")

PAGE = 1_000  # events of one stream in one transaction


class RepairAttempt(msgspec.Struct):
    """The input of one repair, and the events that it tried to apply, also where it failed."""

    run: Run
    limit: int = PAGE  # events
    redrive: bool = False
    around_locks: bool = False  # wait only briefly for locks, as `BatchApplier.apply` does
    tried: Sequence[Arrival] = ()


class StreamParking:
    """Repairs, parks and redrives the streams of one projection."""

    def __init__(self, applier: BatchApplier, history: History, *, schema: str) -> None:
        """Share the applier's connection; read missing events from `history`."""
        self.rarely = Rarely(logger)  # for faults of events, of which there may be any number
        self._applier = applier
        self._letters = DeadLetters(schema)
        self._doubts = DuplicateChecks(history, applier.recent)
        self._parts = RepairParts(applier, history, self._letters, self._doubts, self.rarely)

    def repair(self, attempt: RepairAttempt, done: Counters) -> Run | None:
        """Apply events of a stream, keep or drop the others; return the run that needs another repair."""
        run, attempt.tried = attempt.run, ()
        with self._repair_of(run.stream, around_locks=attempt.around_locks) as repair:
            try:
                left = None
                if repair.checkpoint.parked and not attempt.redrive and not repair.waits_for_gap():
                    repair.keep_behind(run)
                else:
                    left = repair.apply(run, limit=attempt.limit)
            finally:
                attempt.tried = repair.tried
        if repaired := repair.counted.repaired:
            name = self._applier.projection.name
            sentence = "%s took %d events of %s from the store: not in the transport"
            fields = LogFields(projection=name, stream=run.stream)
            self.rarely.warning(sentence, name, repaired, run.stream, fields=fields)
        self._applier.recent.add(b"".join(arrival.uuid.bytes for arrival in repair.tried))
        done += repair.counted
        return left

    def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """Return whether messages below their checkpoints are duplicates, forks or unknown."""
        with self._applier.workspace.transaction() as connection:
            self._applier.fence(connection)
            return self._doubts.judge(doubts)

    def park(self, failing: Arrival, run: Run, why: Why, done: Counters, *, attempts: int) -> Run | None:
        """Park a stream at its failing event, with the later events of the run behind it.

        Where the event is no longer the next one, another process has applied or parked it: return the run for another
        repair.
        """
        with self._repair_of(run.stream) as repair:
            if not is_next(repair.checkpoint, failing):
                return run
            behind = [arrival for arrival in run.arrivals if arrival.version > failing.version]
            letters = [letter(failing, why, attempts), *(waiting(arrival, failing) for arrival in behind)]
            repair.keep(letters)
            repair.end_redrive(letters[0])
            repair.move(parked=True)
            # crash point: parked, not committed -> delivered again, parked then
        done += repair.counted
        name = self._applier.projection.name
        error_type = why.error.partition(" ")[0].rstrip(":")
        self.rarely.error(
            "%s parks %s at version %d, %s: %s",
            *(name, run.stream, failing.version, why.cause, why.error),
            kind=("parked", why.cause, error_type),
            fields=event_fields(name, failing, error_type),
        )
        return None

    def keep_malformed(self, letters: Sequence[tuple[str, Letter]], done: Counters) -> None:
        """Keep messages without stream or version as dead letters, by their keys; they park nothing."""
        with self._applier.workspace.transaction() as connection:
            live = self._applier.fence(connection)
            kept = self._letters.keep_all(connection, self._by(live), letters)
            # crash point: kept, not acknowledged -> delivered again, kept once
        done.parked += kept
        name, (key, first) = self._applier.projection.name, letters[0]
        sentence = "%s keeps %d messages that are no events, such as one with key %s: %s"
        self.rarely.error(sentence, name, kept, shown(key), first.error, fields={"projection": name})

    def held(self, after: str) -> list[str]:
        """Return the next streams that are parked only for missing events."""
        with self._applier.workspace.transaction() as connection:
            return self._letters.held(connection, self._by(self._applier.fence(connection)), after=after)

    def asked(self, reserved_for: str | None = None) -> list[str]:
        """Return the streams of requested redrives: those for any projector, or for the process `reserved_for`."""
        with self._applier.workspace.transaction() as connection:
            return self._letters.asked(connection, self._by(self._applier.fence(connection)), reserved_for)

    def is_parked(self, stream: str) -> bool:
        with self._applier.workspace.transaction() as connection:
            generation = self._applier.fence(connection).generation
            checkpoint = self._applier.checkpoints.read(connection, generation, [stream]).get(stream)
            return checkpoint is not None and checkpoint.parked

    @contextmanager
    def _repair_of(self, stream: str, *, around_locks: bool = False) -> Iterator[StreamRepair]:
        """Open a transaction that locks the stream's checkpoint."""
        with self._applier.workspace.transaction() as connection:
            live = self._applier.fence(connection)
            if around_locks:
                connection.execute(SHORT_WAIT)
            checkpoint = self._applier.checkpoints.lock(connection, live.generation, stream)
            yield StreamRepair(self._parts, connection, live, checkpoint)

    def _by(self, live: Live) -> str:
        return parked_by(self._applier.projection.name, live.generation)
