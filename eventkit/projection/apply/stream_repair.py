"""Repairs one stream at a time, each in a transaction that locks the stream's checkpoint.

Duplicates at or below the checkpoint are dropped; a fork is kept as a dead letter. Missing events are read from the
store, then the events that follow the checkpoint are applied, dead letters first. Events that cannot be applied yet
become dead letters and park the stream (`parking`). A stream that is parked only for a gap continues by itself once the
missing events are there.
"""

from collections.abc import Iterable, Sequence

import msgspec

from eventkit.observability.log_fields import LogFields
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.classify import Classified, classify, following
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Kind, Verdict
from eventkit.projection.apply.parking import LockedStream, StreamParking, Why, letter, waiting
from eventkit.projection.batch import Arrival, Run, digest_of
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import GAP, Kept, Letter
from eventkit.storage.events import History

PAGE = 1_000  # events of one stream in one transaction
FORK = "fork"
_NOT_COMPARED = "the store cannot say now whether it is the event that was applied"


class RepairOptions(msgspec.Struct, frozen=True):
    """The extent of one repair."""

    limit: int = PAGE  # events
    redrive: bool = False  # also where the stream is parked at an event that has failed
    around_locks: bool = False  # wait only briefly for locks, as `BatchApplier.apply` does


class StreamRepair:
    """Repairs the streams of one projection."""

    def __init__(self, applier: BatchApplier, history: History) -> None:
        """Share the applier's connection; read missing events from `history`."""
        self.parking = StreamParking(applier)
        self.history = history
        self.applier = applier
        self.doubts = DuplicateChecks(history, applier.recent)

    def repair(
        self, run: Run, done: Counters, options: RepairOptions, *, tried: list[Arrival] | None = None
    ) -> Run | None:
        """Apply events of a stream, keep or drop the others; return the run that needs another repair.

        `tried` gets the events that it tries to apply, also where it fails.
        """
        tried = [] if tried is None else tried
        tried.clear()
        left = None
        with self.parking.locked(run.stream, around_locks=options.around_locks) as stream:
            repair = RepairTransaction(self, stream, tried)
            if stream.checkpoint.parked and not options.redrive and not stream.waits_for_gap():
                repair.keep_behind(run)
            else:
                left = repair.apply(run, limit=options.limit)
        if repaired := stream.counted.repaired:
            name = self.applier.projection.name
            sentence = "%s took %d events of %s from the store: not in the transport"
            fields = LogFields(projection=name, stream=run.stream)
            self.parking.rarely.warning(sentence, name, repaired, run.stream, fields=fields)
        self.applier.recent.add(b"".join(arrival.uuid.bytes for arrival in tried))
        done += stream.counted
        return left

    def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """Return whether messages below their checkpoints are duplicates, forks or unknown."""
        with self.applier.workspace.transaction() as connection:
            self.applier.fence(connection)
            return self.doubts.judge(doubts)


class RepairTransaction:
    """One repair, in the open transaction."""

    def __init__(self, repair: StreamRepair, stream: LockedStream, tried: list[Arrival]) -> None:
        """Add the events that it tries to apply to `tried`."""
        self._tried = tried
        self._repair = repair
        self._stream = stream
        self._difference = ""  # between the applied events and those of the store
        self._checkpoint = stream.checkpoint

    def apply(self, run: Run, *, limit: int) -> Run | None:
        """Apply up to `limit` events, dead letters first; park the stream where it is stuck; return the run left."""
        kept = self._stream.load(limit) if self._checkpoint.parked else []
        classified = self._classify(run, kept)
        fresh = self._repaired(classified.fresh, limit=limit)
        ready = following(self._checkpoint.version, fresh)[:limit]
        rest = fresh[len(ready) :]
        self._apply(ready, kept, classified.forked())
        stuck = self._stuck(classified, ready, rest)
        if stuck:
            self._park_behind(stuck)
        left = bool(self._stream.causes())
        self._stream.move(self._checkpoint, parked=left)
        if not stuck and (rest or classified.fork or (left and ready)):
            return Run(run.stream, [*rest, *classified.forked()])
        self._stream.end_redrive(stuck[0] if stuck else None)
        # crash point: redriven, not committed -> still asked for, done then
        return None

    def keep_behind(self, run: Run) -> None:
        """Keep the events that arrive while their stream is parked."""
        classified = self._classify(run, [])
        letters = [waiting(arrival) for arrival in classified.fresh] + self._fork(classified)
        kept = self._stream.keep(letters) if letters else 0
        self._stream.counted.duplicates += len(letters) - kept

    def _classify(self, run: Run, kept: Sequence[Kept]) -> Classified:
        """Classify dead letters and a run by the checkpoint, and count the dropped events."""
        classified = classify(self._checkpoint, [*arrivals_of(run.stream, kept), *run.arrivals])
        unknown = self._judge(classified, kept) if classified.older else 0
        staying = _messages(classified.forked())
        removed = sum(one.version <= self._checkpoint.version and id(one.message) not in staying for one in kept)
        dropped = classified.duplicates + len(classified.older) - removed  # letters were counted when they were kept
        self._stream.counted.unknown += min(unknown, dropped)
        self._stream.counted.duplicates += dropped - min(unknown, dropped)
        return classified

    def _judge(self, classified: Classified, kept: Sequence[Kept]) -> int:
        """Turn older events into a fork where the store has another history; return how many remain unknown."""
        (verdict,) = self._repair.doubts.judge([Doubt(self._checkpoint, classified.older)])
        was_fork = any(one.cause == FORK and one.version < self._checkpoint.version for one in kept)
        if verdict.kind is Kind.FORK or (verdict.kind is Kind.UNKNOWN and was_fork):
            self._difference = verdict.reason
            classified.fork_below()
            return 0
        return len(classified.older) if verdict.kind is Kind.UNKNOWN else 0

    def _apply(self, ready: Sequence[Arrival], kept: Sequence[Kept], forked: Sequence[Arrival]) -> None:
        """Apply events, and delete the dead letters of applied events."""
        before = self._checkpoint
        if ready:
            self._tried += ready
            self._repair.applier.fold(ready, self._stream.counted)
            self._checkpoint = before.advanced(ready[-1].version, ready[-1].uuid, digest_of(ready))
        staying = _messages(forked)
        applied = [one.id for one in kept if one.version <= self._checkpoint.version and id(one.message) not in staying]
        self._stream.remove(applied, above=before.version)

    def _park_behind(self, stuck: Sequence[Letter]) -> None:
        self._stream.keep(stuck)
        name, here = self._repair.applier.projection.name, self._checkpoint
        self._repair.parking.rarely.error(
            "%s parks %s after version %d, %s",
            *(name, here.stream, here.version, stuck[0].error),
            kind=("behind", stuck[0].cause),
            fields={"projection": name, "stream": here.stream, "version": here.version, "error_type": stuck[0].cause},
        )

    def _repaired(self, fresh: list[Arrival], *, limit: int) -> list[Arrival]:
        """Return the events with the missing ones before them, as far as the store has them."""
        stream, version = self._checkpoint.stream, self._checkpoint.version
        if not fresh or fresh[0].version == version + 1:
            return fresh
        messages = self._repair.history.between(stream, version, fresh[0].version, limit=limit)
        found = [
            Arrival(stream, version + place, message, message.tag) for place, message in enumerate(messages, start=1)
        ]
        found = [arrival for arrival in found if arrival.header_version == arrival.version]
        self._stream.counted.repaired += len(found)
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
        fork, here = classified.fork, self._checkpoint
        if fork is None:
            return []
        if fork.version < here.version:
            why = f"version {fork.version} came again below version {here.version}: {self._difference or _NOT_COMPARED}"
        else:
            why = f"version {fork.version} is {here.event_id}, then {fork.uuid} came with the same version"
        return [letter(fork, Why(FORK, why)), *(waiting(arrival, fork) for arrival in classified.after)]

    def _missing(self, high: int) -> str:
        """Describe the missing events, and whether the store was pruned above them."""
        low, stream = self._checkpoint.version + 1, self._checkpoint.stream
        versions = f"version {low} of {stream} is" if low == high else f"versions {low} to {high} of {stream} are"
        pruned_to = self._repair.history.pruned_to(stream)
        if pruned_to >= low:
            return f"{versions} missing in the transport, and the store was pruned up to version {pruned_to}"
        return f"{versions} missing, in the transport and in the store (--store-url names another)"


def arrivals_of(stream: str, kept: Iterable[Kept]) -> list[Arrival]:
    """Make arrivals of letters."""
    return [Arrival(stream, one.version, one.message) for one in kept]


def _messages(arrivals: Sequence[Arrival]) -> set[int]:
    return {id(arrival.message) for arrival in arrivals}
