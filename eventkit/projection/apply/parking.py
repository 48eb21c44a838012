"""A second look at a stream that did not advance, in a transaction of its own, under its checkpoint's lock.

What cannot go on is parked with its stream, and what comes later is kept behind it, in order; a redrive applies it, in
order. A stream that is parked for a gap alone goes on by itself once the missing events are there. What one look does
is in `looking`.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eventkit.domain.header_values import shown
from eventkit.projection.apply.applier import SHORT_WAIT, BatchApplier
from eventkit.projection.apply.classify import right_below
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Verdict
from eventkit.projection.apply.letter import Why, letter, waiting
from eventkit.projection.apply.stream_repair import RepairParts, StreamRepair
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import DeadLetters, Letter
from eventkit.storage.events import History
from eventkit.storage.projections import Live, parked_by

logger = logging.getLogger("eventkit.projection")

PAGE = 1_000  # events of one stream in one transaction


class StreamParking:
    """Takes up streams one at a time."""

    def __init__(self, applying: BatchApplier, history: History, *, schema: str) -> None:
        """Share the batch's connection; `history` is where missing events are read."""
        self._applying = applying
        self._letters = DeadLetters(schema)
        self._doubts = DuplicateChecks(history, applying.recent)
        self._parts = RepairParts(applying, history, self._letters, self._doubts)
        self._looking: StreamRepair | None = None

    @property
    def trying(self) -> Sequence[Arrival]:
        """What the last look tried to apply."""
        return self._looking.trying if self._looking else ()

    def look(
        self, run: Run, done: Counters, *, limit: int = PAGE, redrive: bool = False, around_locks: bool = False
    ) -> Run | None:
        """Apply up to `limit` events of a stream, keep or drop the others; return what must be looked at again.

        `around_locks` waits for no lock for long, as `BatchApplier.apply` does.
        """
        with self._at(run.stream, around_locks=around_locks) as looking:
            left = None
            if looking.checkpoint.parked and not redrive and not looking.is_held():
                looking.wait_behind(run)
            else:
                left = looking.go_on(run, limit=limit)
        if repaired := looking.counted.repaired:
            name = self._applying.projection.name
            logger.warning("%s took %d events of %s from the store: not in the transport", name, repaired, run.stream)
        self._applying.recent.add(b"".join(arrival.uuid.bytes for arrival in looking.trying))
        done += looking.counted
        return left

    def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """Return whether messages below their checkpoints are duplicates, forks or not known."""
        with self._applying.workspace.transaction() as connection:
            self._applying.fence(connection)
            return self._doubts.judge(doubts)

    def park(self, culprit: Arrival, run: Run, why: Why, done: Counters, *, attempts: int) -> Run | None:
        """Park a stream at an event that fails; its run waits behind it.

        Where the checkpoint is not right below the event, another process has applied it or parked it: return the run
        to be looked at again.
        """
        with self._at(run.stream) as looking:
            if not right_below(looking.checkpoint, culprit):
                return run
            behind = [arrival for arrival in run.arrivals if arrival.version > culprit.version]
            letters = [letter(culprit, why, attempts), *(waiting(arrival, culprit) for arrival in behind)]
            looking.keep(letters)
            looking.end_redrive(letters[0])
            looking.move(parked=True)
            # crash point: parked, not committed -> delivered again, parked then
        done += looking.counted
        name = self._applying.projection.name
        logger.error("%s parks %s at version %d, %s: %s", name, run.stream, culprit.version, why.cause, why.error)
        return None

    def keep_malformed(self, letters: Sequence[tuple[str, Letter]], done: Counters) -> None:
        """Keep messages that have no place in any stream, by their keys; they park nothing."""
        with self._applying.workspace.transaction() as connection:
            live = self._applying.fence(connection)
            kept = self._letters.keep_all(connection, self._by(live), letters)
            # crash point: kept, not acknowledged -> delivered again, kept once
        done.parked += kept
        name, (key, first) = self._applying.projection.name, letters[0]
        logger.error("%s keeps %d messages that are no events, as one with key %s: %s",
                     name, kept, shown(key), first.error)  # fmt: skip

    def held(self, after: str) -> list[str]:
        """Return the next streams that wait for missing events and for nothing else."""
        with self._applying.workspace.transaction() as connection:
            return self._letters.held(connection, self._by(self._applying.fence(connection)), after=after)

    def asked(self, reserved_for: str | None = None) -> list[str]:
        """Return the streams that an operator wants to be tried again, by any projector or by the process named."""
        with self._applying.workspace.transaction() as connection:
            return self._letters.asked(connection, self._by(self._applying.fence(connection)), reserved_for)

    def is_parked(self, stream: str) -> bool:
        """Return whether a stream is parked."""
        with self._applying.workspace.transaction() as connection:
            generation = self._applying.fence(connection).generation
            checkpoint = self._applying.checkpoints.read(connection, generation, [stream]).get(stream)
            return checkpoint is not None and checkpoint.parked

    @contextmanager
    def _at(self, stream: str, *, around_locks: bool = False) -> Iterator[StreamRepair]:
        """Look at a stream in a transaction."""
        self._looking = None
        with self._applying.workspace.transaction() as connection:
            live = self._applying.fence(connection)
            if around_locks:
                connection.execute(SHORT_WAIT)
            checkpoint = self._applying.checkpoints.lock(connection, live.generation, stream)
            self._looking = StreamRepair(self._parts, connection, live, checkpoint)
            yield self._looking

    def _by(self, live: Live) -> str:
        return parked_by(self._applying.projection.name, live.generation)
