"""One look at one stream, in a transaction that holds the fence and the stream's checkpoint.

What is at or below the checkpoint is dropped (another id in its place is a fork), what is missing is read from the
store, the rest is applied. What cannot go on is kept, and the stream is parked. Called by `second_look` alone.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.projection.applying import Applying
from eventkit.projection.arrival import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.letters import Why, arrivals_of, letter, waiting
from eventkit.projection.sifting import Sifted, following, sift
from eventkit.storage.checkpoints import Checkpoint
from eventkit.storage.dead_letters import BEHIND, GAP, DeadLetters, Kept, Letter
from eventkit.storage.generations import parked_by
from eventkit.storage.history import History
from eventkit.storage.projections import Live

logger = logging.getLogger("eventkit.projection")

FORK = "fork"


class Parts(NamedTuple):
    """What all looks of a projector share."""

    applying: Applying
    history: History
    letters: DeadLetters


class Looking:
    """The look; `trying` is what it tried to apply, `counted` what it did."""

    def __init__(self, parts: Parts, connection: psycopg.Connection[Any], live: Live, checkpoint: Checkpoint) -> None:
        """Work in the transaction that is open."""
        self.trying: Sequence[Arrival] = ()
        self.counted = Counters()
        self.checkpoint = checkpoint
        self._parts = parts
        self._connection = connection
        self._live = live
        self._by = parked_by(parts.applying.projection.name, live.generation)

    def go_on(self, run: Run, *, limit: int) -> Run | None:
        """Apply up to `limit` events, letters first; park what cannot go on; return what must be looked at again."""
        kept = self._load(limit) if self.checkpoint.parked else []
        sifted = sift(self.checkpoint, [*arrivals_of(run.stream, kept), *run.arrivals])
        self.counted.duplicates += sifted.duplicates - sum(one.version <= self.checkpoint.version for one in kept)
        fresh = self._repaired(sifted.fresh, limit=limit)
        ready = following(self.checkpoint.version, fresh)[:limit]
        rest = fresh[len(ready) :]
        self._apply(ready, kept, sifted.fork)
        stuck = self._stuck(sifted, ready, rest)
        if stuck:
            self._park_behind(stuck)
        left = bool(self._causes())
        self.move(parked=left)
        if not stuck and (rest or sifted.fork or (left and ready)):
            return Run(run.stream, [*rest, *sifted.forked()])
        self.end_redrive(stuck[0] if stuck else None)
        # crash point: redriven, not committed -> still asked for, done then
        return None

    def wait_behind(self, run: Run) -> None:
        """Keep what comes while its stream is parked."""
        above = [arrival for arrival in run.arrivals if arrival.version > self.checkpoint.version]
        kept = self.keep([waiting(arrival) for arrival in above]) if above else 0
        self.counted.duplicates += len(run.arrivals) - kept

    def is_held(self) -> bool:
        """Whether the stream waits for missing events and for nothing else."""
        return self._causes() <= {GAP, BEHIND}

    def keep(self, letters: Sequence[Letter]) -> int:
        """Keep letters; return how many were not there."""
        kept = self._parts.letters.keep(self._connection, self._by, self.checkpoint.stream, letters)
        self.counted.parked += kept
        return kept

    def end_redrive(self, stopped: Letter | None) -> None:
        """Take what an operator has asked for as done, up to what has failed again."""
        self._parts.letters.end_redrive(self._connection, self._by, self.checkpoint.stream, stopped)

    def move(self, *, parked: bool) -> None:
        """Write the checkpoint."""
        moved = msgspec.structs.replace(self.checkpoint, parked=parked)
        self._parts.applying.checkpoints.move(self._connection, self._live.generation, moved)

    def _apply(self, ready: Sequence[Arrival], kept: Sequence[Kept], fork: Arrival | None) -> None:
        """Apply events, and take the letters of all that is applied away."""
        before = self.checkpoint
        if ready:
            self.trying = ready
            self._parts.applying.fold(self._live, ready, self.counted)
            self.checkpoint = Checkpoint(before.stream, ready[-1].version, ready[-1].uuid, before.parked)
        applied = [one.id for one in kept if one.version <= self.checkpoint.version and not _is(one, fork)]
        self._parts.letters.remove(self._connection, applied, above=before.version)

    def _park_behind(self, stuck: Sequence[Letter]) -> None:
        self.keep(stuck)
        name, here = self._parts.applying.projection.name, self.checkpoint
        logger.error("%s parks %s after version %d, %s", name, here.stream, here.version, stuck[0].error)

    def _repaired(self, fresh: list[Arrival], *, limit: int) -> list[Arrival]:
        """Put what is missing before the first event in front of it, as far as the store has it."""
        stream, version = self.checkpoint.stream, self.checkpoint.version
        if not fresh or fresh[0].version == version + 1:
            return fresh
        messages = self._parts.history.between(stream, version, fresh[0].version, limit=limit)
        found = [
            Arrival(stream, version + place, message, message.tag) for place, message in enumerate(messages, start=1)
        ]
        found = [
            arrival for arrival in found if int(dict(arrival.message.headers)["ce_streamversion"]) == arrival.version
        ]
        self.counted.repaired += len(found)
        return [*found, *fresh]

    def _stuck(self, sifted: Sifted, ready: Sequence[Arrival], rest: Sequence[Arrival]) -> list[Letter]:
        """Return the letters of a stream that cannot go on; none while it can."""
        fork = sifted.fork
        if fork is not None and not rest:
            here = f"version {fork.version} is {self.checkpoint.event_id}, then {fork.uuid} came with the same version"
            return [letter(fork, Why(FORK, here)), *(waiting(arrival, fork) for arrival in sifted.after)]
        if rest and not ready:
            missing = self._missing(rest[0].version - 1)
            behind = [*rest[1:], *sifted.forked()]
            return [letter(rest[0], Why(GAP, missing)), *(waiting(arrival, rest[0]) for arrival in behind)]
        return []

    def _missing(self, high: int) -> str:
        """Say which events are missing, and why as far as the store tells."""
        low, stream = self.checkpoint.version + 1, self.checkpoint.stream
        versions = f"version {low} of {stream} is" if low == high else f"versions {low} to {high} of {stream} are"
        pruned_to = self._parts.history.pruned_to(stream)
        if pruned_to >= low:
            return f"{versions} missing in the transport, and the store was pruned up to version {pruned_to}"
        return f"{versions} missing, in the transport and in the store (--store-url names another)"

    def _load(self, limit: int) -> list[Kept]:
        return self._parts.letters.load(self._connection, self._by, self.checkpoint.stream, limit=limit)

    def _causes(self) -> set[str]:
        return self._parts.letters.causes(self._connection, self._by, self.checkpoint.stream)


def _is(one: Kept, arrival: Arrival | None) -> bool:
    return arrival is not None and one.message is arrival.message
