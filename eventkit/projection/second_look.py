"""A second look at a stream that did not advance, in a transaction of its own, under its checkpoint's lock.

What is at or below the checkpoint is dropped (another id in its place is a fork), what is missing is read from the
store, the rest is applied. What cannot go on is parked with its stream, and what comes later is kept behind it, in
order; a redrive applies it, in order. A stream that is parked for a gap alone goes on by itself once the missing events
are there.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.projection.applying import Applying
from eventkit.projection.arrival import Arrival, Run, contiguous, tidy
from eventkit.projection.counters import Counters
from eventkit.storage.checkpoints import Checkpoint
from eventkit.storage.dead_letters import BEHIND, GAP, DeadLetters, Kept, Letter
from eventkit.storage.generations import parked_by
from eventkit.storage.history import History
from eventkit.storage.projections import Live

logger = logging.getLogger("eventkit.projection")

FORK = "fork"
PAGE = 1_000  # events of one stream in one transaction


class Sifted(msgspec.Struct):
    """A stream's events as its checkpoint sees them."""

    fresh: list[Arrival]  # above the checkpoint, in order of version, each version once
    duplicates: int
    fork: Arrival | None = None  # an event whose place is taken by another
    after: list[Arrival] = msgspec.field(default_factory=list)  # what comes after the fork


class SecondLook:
    """Takes up streams one at a time; `trying` is what the last look tried to apply."""

    def __init__(self, applying: Applying, history: History, *, schema: str) -> None:
        """Share the batch's connection; `history` is where missing events are read."""
        self._applying = applying
        self._history = history
        self._letters = DeadLetters(schema)
        self.trying: Sequence[Arrival] = ()

    def look(self, run: Run, done: Counters, *, limit: int = PAGE, redrive: bool = False) -> Run | None:
        """Apply up to `limit` events of a stream, keep or drop the others; return what must be looked at again."""
        counted = Counters()
        self.trying = ()
        with self._applying.workspace.transaction() as connection:
            live = self._applying.fence(connection)
            checkpoint = self._applying.checkpoints.lock(connection, live.generation, run.stream)
            if checkpoint.parked and not redrive and not self._is_held(connection, live, run.stream):
                self._wait_behind(connection, live, checkpoint, run, counted)
                left = None
            else:
                left = self._go_on(connection, live, checkpoint, run, counted, limit=limit)
        if counted.repaired:
            name = self._applying.projection.name
            logger.warning(
                "%s took %d events of %s from the store: not in the transport", name, counted.repaired, run.stream
            )
        done += counted
        return left

    def park(self, culprit: Arrival, run: Run, why: tuple[str, str], done: Counters, *, attempts: int) -> Run | None:
        """Park a stream at an event that fails; its run waits behind it. `why` is cause and error.

        Where the checkpoint is not right below the event, another process has applied it or parked it: return the run
        to be looked at again.
        """
        counted = Counters()
        with self._applying.workspace.transaction() as connection:
            live = self._applying.fence(connection)
            checkpoint = self._applying.checkpoints.lock(connection, live.generation, run.stream)
            if not right_below(checkpoint, culprit):
                return run
            behind = [arrival for arrival in run.arrivals if arrival.version > culprit.version]
            letters = [letter(culprit, *why, attempts), *(waiting(arrival, culprit) for arrival in behind)]
            counted.parked += self._letters.keep(connection, self._by(live), run.stream, letters)
            self._letters.end_redrive(connection, self._by(live), run.stream, letters[0])
            self._move(connection, live, checkpoint, parked=True)
            # crash point: parked, not committed -> delivered again, parked then
        done += counted
        logger.error(
            "%s parks %s at version %d, %s: %s", self._applying.projection.name, run.stream, culprit.version, *why
        )
        return None

    def keep_malformed(self, stream: str, letters: Sequence[Letter], done: Counters) -> None:
        """Keep messages that have no place in any stream; they park nothing."""
        with self._applying.workspace.transaction() as connection:
            live = self._applying.fence(connection)
            kept = self._letters.keep(connection, self._by(live), stream, letters)
        done.parked += kept
        logger.error(
            "%s keeps %d messages of %r that are no events: %s",
            self._applying.projection.name,
            kept,
            stream,
            letters[0].error,
        )

    def held(self) -> list[str]:
        """Return the streams that wait for missing events and for nothing else."""
        with self._applying.workspace.transaction() as connection:
            return self._letters.held(connection, self._by(self._applying.fence(connection)))

    def asked(self) -> list[str]:
        """Return the streams that an operator wants to be tried again."""
        with self._applying.workspace.transaction() as connection:
            return self._letters.asked(connection, self._by(self._applying.fence(connection)))

    def is_parked(self, stream: str) -> bool:
        """Return whether a stream is parked."""
        with self._applying.workspace.transaction() as connection:
            generation = self._applying.fence(connection).generation
            checkpoint = self._applying.checkpoints.read(connection, generation, [stream]).get(stream)
            return checkpoint is not None and checkpoint.parked

    def _go_on(
        self,
        connection: psycopg.Connection[Any],
        live: Live,
        checkpoint: Checkpoint,
        run: Run,
        counted: Counters,
        *,
        limit: int,
    ) -> Run | None:
        kept = self._letters.load(connection, self._by(live), run.stream, limit=limit) if checkpoint.parked else []
        sifted = sift(checkpoint, [*arrivals_of(run.stream, kept), *run.arrivals])
        counted.duplicates += sifted.duplicates - sum(letter.version <= checkpoint.version for letter in kept)
        fresh = self._repaired(checkpoint, sifted.fresh, counted, limit=limit)
        ready = following(checkpoint.version, fresh)[:limit]
        rest = fresh[len(ready) :]
        before = checkpoint.version
        if ready:
            self.trying = ready
            self._applying.fold(live, ready, counted)
            checkpoint = Checkpoint(run.stream, ready[-1].version, ready[-1].uuid, checkpoint.parked)
        self._letters.remove(
            connection,
            [letter.id for letter in kept if letter.version <= checkpoint.version and not _is(letter, sifted.fork)],
            above=before,
        )
        stuck = self._stuck(checkpoint, sifted, ready, rest)
        if stuck:
            counted.parked += self._letters.keep(connection, self._by(live), run.stream, stuck)
            logger.error(
                "%s parks %s after version %d, %s",
                self._applying.projection.name,
                run.stream,
                checkpoint.version,
                stuck[0].error,
            )
        left = bool(self._letters.causes(connection, self._by(live), run.stream))
        self._move(connection, live, checkpoint, parked=left)
        if not stuck and (rest or sifted.fork or (left and ready)):
            return Run(run.stream, [*rest, *_fork(sifted)])
        self._letters.end_redrive(connection, self._by(live), run.stream, stuck[0] if stuck else None)
        # crash point: redriven, not committed -> still asked for, done then
        return None

    def _repaired(
        self, checkpoint: Checkpoint, fresh: list[Arrival], counted: Counters, *, limit: int
    ) -> list[Arrival]:
        """Put what is missing before the first event in front of it, as far as the store has it."""
        if not fresh or fresh[0].version == checkpoint.version + 1:
            return fresh
        messages = self._history.between(checkpoint.stream, checkpoint.version, fresh[0].version, limit=limit)
        found = [
            Arrival(checkpoint.stream, checkpoint.version + place, message, message.tag)
            for place, message in enumerate(messages, start=1)
        ]
        found = [arrival for arrival in found if int(dict(arrival.message.headers)["ce_sequence"]) == arrival.version]
        counted.repaired += len(found)
        return [*found, *fresh]

    def _stuck(
        self, checkpoint: Checkpoint, sifted: Sifted, ready: Sequence[Arrival], rest: Sequence[Arrival]
    ) -> list[Letter]:
        """Return the letters of a stream that cannot go on; none while it can."""
        fork = sifted.fork
        if fork is not None and not rest:
            error = f"version {fork.version} is {checkpoint.event_id}, then {fork.uuid} came with the same version"
            return [letter(fork, FORK, error, 1), *(waiting(arrival, fork) for arrival in sifted.after)]
        if rest and not ready:
            error = self._missing(checkpoint, rest[0].version - 1)
            return [
                letter(rest[0], GAP, error, 1),
                *(waiting(arrival, rest[0]) for arrival in [*rest[1:], *_fork(sifted)]),
            ]
        return []

    def _missing(self, checkpoint: Checkpoint, high: int) -> str:
        """Say which events are missing, and why as far as the store tells."""
        low, stream = checkpoint.version + 1, checkpoint.stream
        versions = f"version {low} of {stream} is" if low == high else f"versions {low} to {high} of {stream} are"
        pruned_to = self._history.pruned_to(stream)
        if pruned_to >= low:
            return f"{versions} missing in the transport, and the store was pruned up to version {pruned_to}"
        return f"{versions} missing, in the transport and in the store (--store-url names another)"

    def _wait_behind(
        self, connection: psycopg.Connection[Any], live: Live, checkpoint: Checkpoint, run: Run, counted: Counters
    ) -> None:
        above = [arrival for arrival in run.arrivals if arrival.version > checkpoint.version]
        kept = (
            self._letters.keep(connection, self._by(live), run.stream, [waiting(arrival, None) for arrival in above])
            if above
            else 0
        )
        counted.parked += kept
        counted.duplicates += len(run.arrivals) - kept

    def _is_held(self, connection: psycopg.Connection[Any], live: Live, stream: str) -> bool:
        return self._letters.causes(connection, self._by(live), stream) <= {GAP, BEHIND}

    def _move(self, connection: psycopg.Connection[Any], live: Live, checkpoint: Checkpoint, *, parked: bool) -> None:
        moved = msgspec.structs.replace(checkpoint, parked=parked)
        self._applying.checkpoints.move(connection, live.generation, moved)

    def _by(self, live: Live) -> str:
        return parked_by(self._applying.projection.name, live.generation)


def sift(checkpoint: Checkpoint, arrivals: Iterable[Arrival]) -> Sifted:
    """Sort a stream's events out against its checkpoint."""
    given = list(arrivals)
    ordered = tidy(Run(checkpoint.stream, given)).arrivals
    sifted = Sifted([], len(given) - len(ordered))
    for place, arrival in enumerate(ordered):
        if arrival.version < checkpoint.version or (
            arrival.version == checkpoint.version and arrival.uuid == checkpoint.event_id
        ):
            sifted.duplicates += 1
        elif arrival.version == (sifted.fresh[-1].version if sifted.fresh else checkpoint.version):
            sifted.fork, sifted.after = arrival, ordered[place + 1 :]
            break
        else:
            sifted.fresh.append(arrival)
    return sifted


def right_below(checkpoint: Checkpoint, culprit: Arrival) -> bool:
    """Whether an event is still the next of its stream: only then may it be parked."""
    return checkpoint.version == culprit.version - 1


def following(version: int, fresh: Sequence[Arrival]) -> list[Arrival]:
    """Return the events that follow a version without a hole."""
    return contiguous(fresh) if fresh and fresh[0].version == version + 1 else []


def arrivals_of(stream: str, kept: Iterable[Kept]) -> list[Arrival]:
    """Make arrivals of letters."""
    return [Arrival(stream, letter.version, letter.message) for letter in kept]


def letter(arrival: Arrival, cause: str, error: str, attempts: int) -> Letter:
    """Write an event's letter."""
    kind = arrival.kind[1] or ""
    name = kind if isinstance(kind, str) else kind.decode(errors="replace")
    return Letter(arrival.version, arrival.uuid, name, cause, error, attempts, arrival.message)


def waiting(arrival: Arrival, culprit: Arrival | None) -> Letter:
    """Write the letter of an event that waits for another."""
    return letter(
        arrival, BEHIND, f"waits for version {culprit.version}" if culprit else "waits for the letters before it", 0
    )


def _fork(sifted: Sifted) -> list[Arrival]:
    return [sifted.fork, *sifted.after] if sifted.fork else []


def _is(letter: Kept, arrival: Arrival | None) -> bool:
    return arrival is not None and letter.message is arrival.message
