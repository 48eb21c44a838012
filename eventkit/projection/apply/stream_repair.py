"""One look at one stream, in a transaction that holds the fence and the stream's checkpoint.

Events at or below the checkpoint are dropped where they are duplicates (`doubts`); a fork is kept. Missing events are
read from the store, the rest is applied. Events that cannot go on are kept, and the stream is parked. Called by
`second_look` alone.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.classify import Classified, classify, following
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Kind
from eventkit.projection.apply.letter import Why, arrivals_of, letter, waiting
from eventkit.projection.batch import Arrival, Run, digest_of
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import BEHIND, GAP, DeadLetters, Kept, Letter
from eventkit.storage.events import History
from eventkit.storage.projections import Checkpoint, Live, parked_by

logger = logging.getLogger("eventkit.projection")

FORK = "fork"
_NOT_COMPARED = "the store cannot say now whether it is the event that was applied"


class RepairParts(NamedTuple):
    """What all looks of a projector share."""

    applying: BatchApplier
    history: History
    letters: DeadLetters
    doubts: DuplicateChecks


class StreamRepair:
    """The look; `trying` is what it tried to apply, `counted` what it did."""

    def __init__(
        self, parts: RepairParts, connection: psycopg.Connection[Any], live: Live, checkpoint: Checkpoint
    ) -> None:
        """Work in the transaction that is open."""
        self.trying: Sequence[Arrival] = ()
        self.counted = Counters()
        self.checkpoint = checkpoint
        self._parts = parts
        self._connection = connection
        self._live = live
        self._difference = ""  # between the events that are applied and those of the store
        self._by = parked_by(parts.applying.projection.name, live.generation)

    def go_on(self, run: Run, *, limit: int) -> Run | None:
        """Apply up to `limit` events, letters first; park what cannot go on; return what must be looked at again."""
        kept = self._load(limit) if self.checkpoint.parked else []
        sifted = self._sifted(run, kept)
        fresh = self._repaired(sifted.fresh, limit=limit)
        ready = following(self.checkpoint.version, fresh)[:limit]
        rest = fresh[len(ready) :]
        self._apply(ready, kept, sifted.forked())
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
        sifted = self._sifted(run, [])
        letters = [waiting(arrival) for arrival in sifted.fresh] + self._fork(sifted)
        kept = self.keep(letters) if letters else 0
        self.counted.duplicates += len(letters) - kept

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

    def _sifted(self, run: Run, kept: Sequence[Kept]) -> Classified:
        """Sort letters and a run out by the checkpoint, and count those that are dropped."""
        sifted = classify(self.checkpoint, [*arrivals_of(run.stream, kept), *run.arrivals])
        unknown = self._judge(sifted, kept) if sifted.older else 0
        staying = _messages(sifted.forked())
        going = sum(one.version <= self.checkpoint.version and id(one.message) not in staying for one in kept)
        dropped = sifted.duplicates + len(sifted.older) - going  # letters were counted when they were kept
        self.counted.unknown += min(unknown, dropped)
        self.counted.duplicates += dropped - min(unknown, dropped)
        return sifted

    def _judge(self, sifted: Classified, kept: Sequence[Kept]) -> int:
        """Take older events for a fork where they are one; return how many are not known to be duplicates."""
        (verdict,) = self._parts.doubts.judge([Doubt(self.checkpoint, sifted.older)])
        was_fork = any(one.cause == FORK and one.version < self.checkpoint.version for one in kept)
        if verdict.kind is Kind.FORK or (verdict.kind is Kind.UNKNOWN and was_fork):
            self._difference = verdict.reason
            sifted.fork_below()
            return 0
        return len(sifted.older) if verdict.kind is Kind.UNKNOWN else 0

    def _apply(self, ready: Sequence[Arrival], kept: Sequence[Kept], forked: Sequence[Arrival]) -> None:
        """Apply events, and take the letters of all that is applied away."""
        before = self.checkpoint
        if ready:
            self.trying = ready
            self._parts.applying.fold(self._live, ready, self.counted)
            self.checkpoint = before.advanced(ready[-1].version, ready[-1].uuid, digest_of(ready))
        staying = _messages(forked)
        applied = [one.id for one in kept if one.version <= self.checkpoint.version and id(one.message) not in staying]
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
        found = [arrival for arrival in found if arrival.told_version == arrival.version]
        self.counted.repaired += len(found)
        return [*found, *fresh]

    def _stuck(self, sifted: Classified, ready: Sequence[Arrival], rest: Sequence[Arrival]) -> list[Letter]:
        """Return the letters of a stream that cannot go on; none while it can."""
        if sifted.fork is not None and not rest:
            return self._fork(sifted)
        if rest and not ready:
            missing = self._missing(rest[0].version - 1)
            behind = [*rest[1:], *sifted.forked()]
            return [letter(rest[0], Why(GAP, missing)), *(waiting(arrival, rest[0]) for arrival in behind)]
        return []

    def _fork(self, sifted: Classified) -> list[Letter]:
        """Return the letters of a fork and of the events that came after it."""
        fork, here = sifted.fork, self.checkpoint
        if fork is None:
            return []
        if fork.version < here.version:
            why = f"version {fork.version} came again below version {here.version}: {self._difference or _NOT_COMPARED}"
        else:
            why = f"version {fork.version} is {here.event_id}, then {fork.uuid} came with the same version"
        return [letter(fork, Why(FORK, why)), *(waiting(arrival, fork) for arrival in sifted.after)]

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


def _messages(arrivals: Sequence[Arrival]) -> set[int]:
    return {id(arrival.message) for arrival in arrivals}
