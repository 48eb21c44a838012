"""Decides whether messages at or below a checkpoint are duplicates, or a fork after the store lost events.

A version alone proves nothing: after a restore, or a failover that lost commits, a store assigns versions again. A
message that this process has applied is a duplicate. For the others, one statement compares all streams with the store:
the event's id, and the digest of the events up to the checkpoint.

    id and digest are equal                      duplicate
    id is equal, digest differs                  fork: the read model has events that the store does not have
    pruned, away, or an event of another store   unknown, and counted as such
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from eventkit.projection.batch import Arrival
from eventkit.storage.events import History, Question, Stored
from eventkit.storage.projections import Checkpoint

_MAX_IDS = 20_000  # in each of two lists
_BYTES = 16  # of an id
_MAX_COMPARED = 10_000  # streams whose digest was equal and is not compared again


class Recent:
    """The ids of the last 20,000 to 40,000 events that this process has applied.

    The ids of a batch are one `bytes` value: separate objects would cost a third of a projector's time. A set is made
    only when messages are in doubt. Where lanes add at the same time, some ids may be forgotten early; the store is
    asked about them.
    """

    def __init__(self) -> None:
        self._now: list[bytes] = []
        self._before: list[bytes] = []
        self._count = 0
        self._ids: set[bytes] | None = None

    def add(self, ids: bytes) -> None:
        """Add the ids of committed events, 16 bytes each; a batch of duplicates brings none."""
        if not ids:
            return
        self._now.append(ids)
        self._ids = None
        self._count += len(ids) // _BYTES
        if self._count > _MAX_IDS:
            self._before, self._now, self._count = self._now, [], 0

    def has_all(self, arrivals: Iterable[Arrival]) -> bool:
        """Whether this process has applied all of these events, as far as it remembers."""
        if self._ids is None:
            joined = b"".join([*self._before, *self._now])
            self._ids = {joined[at : at + _BYTES] for at in range(0, len(joined), _BYTES)}
        return all(arrival.uuid.bytes in self._ids for arrival in arrivals)


class Kind(Enum):
    """The kind of messages at or below a checkpoint."""

    DUPLICATE = auto()
    UNKNOWN = auto()
    FORK = auto()


class Verdict(NamedTuple):
    """A kind, and for a fork the difference."""

    kind: Kind
    reason: str = ""


class Doubt(NamedTuple):
    """A checkpoint, and messages of its stream that are not above it."""

    checkpoint: Checkpoint
    arrivals: Sequence[Arrival]


class DuplicateChecks:
    """Decides, for one projector, the kind of messages at or below checkpoints."""

    def __init__(self, history: History, recent: Recent) -> None:
        """Ask `history`, the store, about events that are not in `recent`."""
        self._history = history
        self._recent = recent
        self._compared: dict[str, tuple[int, int | None]] = {}

    def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """Return a verdict for each doubt, with one statement at most."""
        asked = {nth: doubt for nth, doubt in enumerate(doubts) if not self._recent.has_all(doubt.arrivals)}
        verdicts = [Verdict(Kind.DUPLICATE)] * len(doubts)
        answers = self._history.ask([self._question(doubt) for doubt in asked.values()]) if asked else []
        for place, (nth, doubt) in enumerate(asked.items()):
            verdicts[nth] = self._verdict(doubt, answers[place]) if answers else Verdict(Kind.UNKNOWN)
        return verdicts

    def _question(self, doubt: Doubt) -> Question:
        checkpoint = doubt.checkpoint
        is_compared = self._compared.get(checkpoint.stream) == (checkpoint.version, checkpoint.digest)
        return Question(checkpoint.stream, 0 if is_compared else checkpoint.version, doubt.arrivals[-1].version)

    def _verdict(self, doubt: Doubt, stored: Stored) -> Verdict:
        checkpoint, last = doubt.checkpoint, doubt.arrivals[-1]
        if stored.id is None or stored.id != last.uuid:
            return Verdict(Kind.UNKNOWN)  # not an event of this store
        if self._question(doubt).version == 0:
            return Verdict(Kind.DUPLICATE)
        if difference := differs(checkpoint, stored):
            return Verdict(Kind.FORK, difference)
        if checkpoint.digest is None or stored.digest is None:
            return Verdict(Kind.UNKNOWN)
        if len(self._compared) >= _MAX_COMPARED:
            self._compared.clear()
        self._compared[checkpoint.stream] = (checkpoint.version, checkpoint.digest)
        return Verdict(Kind.DUPLICATE)


def differs(checkpoint: Checkpoint, stored: Stored) -> str:
    """Return the difference between the store's stream and the applied events; empty if none is known."""
    if 0 < stored.highest < checkpoint.version:
        return f"the store has versions up to {stored.highest} only, {checkpoint.version} are applied"
    if None not in (stored.digest, checkpoint.digest) and stored.digest != checkpoint.digest:
        return f"the store has other events up to version {checkpoint.version} than those that are applied"
    return ""
