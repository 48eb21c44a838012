"""Repairs one stream, in a transaction that holds the projection's fence and the stream's checkpoint.

Duplicates at or below the checkpoint are dropped; a fork is kept as a dead letter. Missing events are read from the
store, then the events that follow the checkpoint are applied. Events that cannot be applied yet become dead letters and
park the stream. Only `parking` calls this module.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.observability.rarely import Rarely
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.classify import Classified, classify, following
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Kind
from eventkit.projection.apply.letter import Why, arrivals_of, letter, waiting
from eventkit.projection.batch import Arrival, Run, digest_of
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import BEHIND, GAP, DeadLetters, Kept, Letter
from eventkit.storage.events import History
from eventkit.storage.projections import Checkpoint, Live, parked_by

FORK = "fork"
_NOT_COMPARED = "the store cannot say now whether it is the event that was applied"


class RepairParts(NamedTuple):
    """The parts that all repairs of a projector share."""

    applier: BatchApplier
    history: History
    letters: DeadLetters
    doubts: DuplicateChecks
    rarely: Rarely


class StreamRepair:
    """One repair: `tried` are the events that it tried to apply, `counted` its counters."""

    def __init__(
        self, parts: RepairParts, connection: psycopg.Connection[Any], live: Live, checkpoint: Checkpoint
    ) -> None:
        """Work in the open transaction."""
        self.tried: Sequence[Arrival] = ()
        self.counted = Counters()
        self.checkpoint = checkpoint
        self._parts = parts
        self._connection = connection
        self._live = live
        self._difference = ""  # between the applied events and those of the store
        self._by = parked_by(parts.applier.projection.name, live.generation)

    def apply(self, run: Run, *, limit: int) -> Run | None:
        """Apply up to `limit` events, dead letters first; park the stream where it is stuck; return the run left."""
        kept = self._load(limit) if self.checkpoint.parked else []
        classified = self._classify(run, kept)
        fresh = self._repaired(classified.fresh, limit=limit)
        ready = following(self.checkpoint.version, fresh)[:limit]
        rest = fresh[len(ready) :]
        self._apply(ready, kept, classified.forked())
        stuck = self._stuck(classified, ready, rest)
        if stuck:
            self._park_behind(stuck)
        left = bool(self._causes())
        self.move(parked=left)
        if not stuck and (rest or classified.fork or (left and ready)):
            return Run(run.stream, [*rest, *classified.forked()])
        self.end_redrive(stuck[0] if stuck else None)
        # crash point: redriven, not committed -> still asked for, done then
        return None

    def keep_behind(self, run: Run) -> None:
        """Keep the events that arrive while their stream is parked."""
        classified = self._classify(run, [])
        letters = [waiting(arrival) for arrival in classified.fresh] + self._fork(classified)
        kept = self.keep(letters) if letters else 0
        self.counted.duplicates += len(letters) - kept

    def waits_for_gap(self) -> bool:
        """Whether missing events are the only cause for which the stream is parked."""
        return self._causes() <= {GAP, BEHIND}

    def keep(self, letters: Sequence[Letter]) -> int:
        """Write dead letters; return how many are new."""
        kept = self._parts.letters.keep(self._connection, self._by, self.checkpoint.stream, letters)
        self.counted.parked += kept
        return kept

    def end_redrive(self, stopped: Letter | None) -> None:
        """Mark an operator's redrive as done, up to the letter at which it `stopped`."""
        self._parts.letters.end_redrive(self._connection, self._by, self.checkpoint.stream, stopped)

    def move(self, *, parked: bool) -> None:
        moved = msgspec.structs.replace(self.checkpoint, parked=parked)
        self._parts.applier.checkpoints.move(self._connection, self._live.generation, moved)

    def _classify(self, run: Run, kept: Sequence[Kept]) -> Classified:
        """Classify dead letters and a run by the checkpoint, and count the dropped events."""
        classified = classify(self.checkpoint, [*arrivals_of(run.stream, kept), *run.arrivals])
        unknown = self._judge(classified, kept) if classified.older else 0
        staying = _messages(classified.forked())
        removed = sum(one.version <= self.checkpoint.version and id(one.message) not in staying for one in kept)
        dropped = classified.duplicates + len(classified.older) - removed  # letters were counted when they were kept
        self.counted.unknown += min(unknown, dropped)
        self.counted.duplicates += dropped - min(unknown, dropped)
        return classified

    def _judge(self, classified: Classified, kept: Sequence[Kept]) -> int:
        """Turn older events into a fork where the store has another history; return how many remain unknown."""
        (verdict,) = self._parts.doubts.judge([Doubt(self.checkpoint, classified.older)])
        was_fork = any(one.cause == FORK and one.version < self.checkpoint.version for one in kept)
        if verdict.kind is Kind.FORK or (verdict.kind is Kind.UNKNOWN and was_fork):
            self._difference = verdict.reason
            classified.fork_below()
            return 0
        return len(classified.older) if verdict.kind is Kind.UNKNOWN else 0

    def _apply(self, ready: Sequence[Arrival], kept: Sequence[Kept], forked: Sequence[Arrival]) -> None:
        """Apply events, and delete the dead letters of applied events."""
        before = self.checkpoint
        if ready:
            self.tried = ready
            self._parts.applier.fold(ready, self.counted)
            self.checkpoint = before.advanced(ready[-1].version, ready[-1].uuid, digest_of(ready))
        staying = _messages(forked)
        applied = [one.id for one in kept if one.version <= self.checkpoint.version and id(one.message) not in staying]
        self._parts.letters.remove(self._connection, applied, above=before.version)

    def _park_behind(self, stuck: Sequence[Letter]) -> None:
        self.keep(stuck)
        name, here = self._parts.applier.projection.name, self.checkpoint
        self._parts.rarely.error(
            "%s parks %s after version %d, %s",
            *(name, here.stream, here.version, stuck[0].error),
            kind=("behind", stuck[0].cause),
            fields={"projection": name, "stream": here.stream, "version": here.version, "error_type": stuck[0].cause},
        )

    def _repaired(self, fresh: list[Arrival], *, limit: int) -> list[Arrival]:
        """Return the events with the missing ones before them, as far as the store has them."""
        stream, version = self.checkpoint.stream, self.checkpoint.version
        if not fresh or fresh[0].version == version + 1:
            return fresh
        messages = self._parts.history.between(stream, version, fresh[0].version, limit=limit)
        found = [
            Arrival(stream, version + place, message, message.tag) for place, message in enumerate(messages, start=1)
        ]
        found = [arrival for arrival in found if arrival.header_version == arrival.version]
        self.counted.repaired += len(found)
        return [*found, *fresh]

    def _stuck(self, classified: Classified, ready: Sequence[Arrival], rest: Sequence[Arrival]) -> list[Letter]:
        """Return the dead letters of a stream that is stuck at a fork or a gap; none if it can continue."""
        if classified.fork is not None and not rest:
            return self._fork(classified)
        if rest and not ready:
            missing = self._missing(rest[0].version - 1)
            behind = [*rest[1:], *classified.forked()]
            return [letter(rest[0], Why(GAP, missing)), *(waiting(arrival, rest[0]) for arrival in behind)]
        return []

    def _fork(self, classified: Classified) -> list[Letter]:
        """Return the dead letters of a fork and of the events after it."""
        fork, here = classified.fork, self.checkpoint
        if fork is None:
            return []
        if fork.version < here.version:
            why = f"version {fork.version} came again below version {here.version}: {self._difference or _NOT_COMPARED}"
        else:
            why = f"version {fork.version} is {here.event_id}, then {fork.uuid} came with the same version"
        return [letter(fork, Why(FORK, why)), *(waiting(arrival, fork) for arrival in classified.after)]

    def _missing(self, high: int) -> str:
        """Describe the missing events, and whether the store was pruned above them."""
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


def _messages(arrivals: Sequence[Arrival]) -> set[int]:
    return {id(arrival.message) for arrival in arrivals}
