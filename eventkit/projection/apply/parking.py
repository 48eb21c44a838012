"""Parks a stream at an event that cannot be applied: the event and the later ones of its stream become dead letters.

    fail      an event has failed alone, after its last attempt           `event_isolation`
    park      its letter, the letters of the events behind it,
              and `parked` in the stream's checkpoint                     `StreamParking.park`, one transaction
    wait      events that arrive later become letters, too                `stream_repair`
    retry     an operator's request, or the missing events, have come     `redrive`

The other streams continue. `eventkit.storage.dead_letters.letters` stores the letters, and
`eventkit.storage.outbox.parking` is the same for the relay.

The reason of a letter has two parts. `error` may be shown and logged anywhere. `detail` is the error's own message,
which may quote the event; it is masked like the event's data.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.domain.header_values import shown
from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.projection.apply.applier import SHORT_WAIT, BatchApplier
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import BEHIND, GAP, DeadLetters, Kept, Letter, Redrives
from eventkit.storage.projections import Checkpoint, Live, parked_by

logger = logging.getLogger("eventkit.projection")


class Why(NamedTuple):
    """The reason for which an event is parked."""

    cause: str
    error: str
    detail: str | None = None


class LockedStream:
    """A stream and its letters, in a transaction that holds the projection's fence and the stream's checkpoint."""

    def __init__(self, connection: psycopg.Connection[Any], applier: BatchApplier, live: Live, stream: str) -> None:
        """Lock the stream's checkpoint."""
        self.checkpoint = applier.checkpoints.lock(connection, live.generation, stream)
        self.counted = Counters()
        self._connection = connection
        self._generation = live.generation
        self._checkpoints = applier.checkpoints
        self._letters = DeadLetters(applier.schema)
        self._redrives = Redrives(applier.schema)
        self._place = parked_by(applier.projection.name, live.generation), stream

    def is_next(self, failing: Arrival) -> bool:
        """Whether an event is still the next of the stream; only then may it be parked."""
        return self.checkpoint.version == failing.version - 1

    def waits_for_gap(self) -> bool:
        """Whether missing events are the only cause for which the stream is parked."""
        return self.causes() <= {GAP, BEHIND}

    def causes(self) -> set[str]:
        """Return the causes of the stream's letters; an empty set when it has none."""
        return self._letters.causes(self._connection, *self._place)

    def load(self, limit: int) -> list[Kept]:
        """Return the stream's first letters, at most `limit`."""
        return self._letters.load(self._connection, *self._place, limit=limit)

    def keep(self, letters: Sequence[Letter]) -> int:
        """Write letters; return how many are new."""
        kept = self._letters.keep(self._connection, *self._place, letters)
        self.counted.parked += kept
        return kept

    def remove(self, ids: Sequence[int], *, above: int) -> None:
        """Remove letters; this transaction has applied those above version `above`."""
        self._redrives.remove(self._connection, ids, above=above)

    def end_redrive(self, stopped: Letter | None) -> None:
        """Mark an operator's redrive as done, up to the letter at which it `stopped`."""
        self._redrives.end(self._connection, *self._place, stopped)

    def move(self, checkpoint: Checkpoint, *, parked: bool) -> None:
        """Write the stream's checkpoint."""
        moved = msgspec.structs.replace(checkpoint, parked=parked)
        self._checkpoints.move(self._connection, self._generation, moved)


class StreamParking:
    """Parks the streams of one projection, each in a transaction of its own."""

    def __init__(self, applier: BatchApplier) -> None:
        """Share the applier's connection."""
        self.rarely = Rarely(logger)  # for faults of events, of which there may be any number
        self._applier = applier
        self._name = applier.projection.name

    @contextmanager
    def locked(self, stream: str, *, around_locks: bool = False) -> Iterator[LockedStream]:
        """Open a transaction that locks the stream's checkpoint; `around_locks` waits only briefly for locks."""
        with self._applier.workspace.transaction() as connection:
            live = self._applier.fence(connection)
            if around_locks:
                connection.execute(SHORT_WAIT)
            yield LockedStream(connection, self._applier, live, stream)

    def park(self, failing: Arrival, run: Run, why: Why, done: Counters, *, attempts: int) -> Run | None:
        """Park a stream at its failing event, with the later events of the run and others of its version behind it.

        Return the events that need a repair: those below the failing one, which may be duplicates or a fork. Where the
        event is no longer the next one, another process has applied or parked it, and the whole run needs a repair.
        """
        with self.locked(run.stream) as stream:
            if not stream.is_next(failing):
                return run
            behind = [arrival for arrival in run.arrivals if _is_behind(arrival, failing)]
            letters = [letter(failing, why, attempts), *(waiting(arrival, failing) for arrival in behind)]
            stream.keep(letters)
            stream.end_redrive(letters[0])
            stream.move(stream.checkpoint, parked=True)
            # crash point: parked, not committed -> delivered again, parked then
        done += stream.counted
        error_type = why.error.partition(" ")[0].rstrip(":")
        self.rarely.error(
            "%s parks %s at version %d, %s: %s",
            *(self._name, run.stream, failing.version, why.cause, why.error),
            kind=("parked", why.cause, error_type),
            fields=event_fields(self._name, failing, error_type),
        )
        below = [arrival for arrival in run.arrivals if arrival.version < failing.version]
        return Run(run.stream, below) if below else None

    def is_parked(self, stream: str) -> bool:
        """Return whether a stream is parked."""
        with self._applier.workspace.transaction() as connection:
            generation = self._applier.fence(connection).generation
            checkpoint = self._applier.checkpoints.read(connection, generation, [stream]).get(stream)
            return checkpoint is not None and checkpoint.parked

    def keep_malformed(self, letters: Sequence[tuple[str, Letter]], done: Counters) -> None:
        """Keep messages without stream or version as dead letters, by their keys; they park nothing."""
        with self._applier.workspace.transaction() as connection:
            by = parked_by(self._name, self._applier.fence(connection).generation)
            kept = DeadLetters(self._applier.schema).keep_all(connection, by, letters)
            # crash point: kept, not acknowledged -> delivered again, kept once
        done.parked += kept
        key, first = letters[0]
        sentence = "%s keeps %d messages that are no events, such as one with key %s: %s"
        self.rarely.error(sentence, self._name, kept, shown(key), first.error, fields={"projection": self._name})


def _is_behind(arrival: Arrival, failing: Arrival) -> bool:
    if arrival.version == failing.version:
        return arrival.uuid != failing.uuid  # two events have one version
    return arrival.version > failing.version


def letter(arrival: Arrival, why: Why, attempts: int = 1) -> Letter:
    """Return an event's dead letter."""
    kind = arrival.kind[1] or ""
    name = kind if isinstance(kind, str) else kind.decode(errors="backslashreplace")
    return Letter(arrival.version, arrival.uuid, name, why.cause, why.error, attempts, arrival.message, why.detail)


def waiting(arrival: Arrival, failing: Arrival | None = None) -> Letter:
    """Return the dead letter of an event that waits behind `failing`, or behind earlier letters."""
    error = f"waits for version {failing.version}" if failing else "waits for the letters before it"
    return letter(arrival, Why(BEHIND, error), 0)


def event_fields(projection: str, arrival: Arrival, error_type: str) -> LogFields:
    """Return the log fields of an event's failure."""
    return {
        "projection": projection,
        "stream": arrival.stream,
        "version": arrival.version,
        "event_id": str(arrival.uuid),
        "error_type": error_type,
    }
