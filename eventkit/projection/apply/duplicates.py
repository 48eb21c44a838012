"""Which messages at or below a checkpoint are duplicates, and which come from a store that is another one by now.

A version alone proves nothing: a restored store, or a failover that lost commits, gives versions anew. A message that
this process has applied itself is a duplicate. For the others one statement asks the store, for all streams in doubt:
has it this very event, and has it the events that the checkpoint's digest is made of?

    it has both                                  a duplicate
    it has the event, but another stream         a fork: the read model holds events that the store does not have
    anything else: pruned, away, not this store  unknown, and counted as that
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from eventkit.projection.batch import Arrival
from eventkit.storage.events import History, Question, Stored
from eventkit.storage.projections import Checkpoint

_RECENT = 20_000  # ids in each of two lists
_BYTES = 16  # of an id
_COMPARED = 10_000  # streams whose checkpoint was found right, and is not compared again


class Recent:
    """The ids of the events that this process has applied last: 20,000 of them at least, 40,000 at most.

    A batch's ids are kept as one text of bytes: kept as objects, they cost a third of a projector's time. Only a doubt
    makes a set of them. Where several lanes add at the same time, some ids may be forgotten early: the store is asked
    about them.
    """

    def __init__(self) -> None:
        """Know none."""
        self._now: list[bytes] = []
        self._before: list[bytes] = []
        self._count = 0
        self._ids: set[bytes] | None = None

    def add(self, ids: bytes) -> None:
        """Remember the ids of events that were committed, 16 bytes each."""
        self._now.append(ids)
        self._ids = None
        self._count += len(ids) // _BYTES
        if self._count > _RECENT:
            self._before, self._now, self._count = self._now, [], 0

    def has_all(self, arrivals: Iterable[Arrival]) -> bool:
        """Whether all of these were applied by this process."""
        if self._ids is None:
            joined = b"".join([*self._before, *self._now])
            self._ids = {joined[at : at + _BYTES] for at in range(0, len(joined), _BYTES)}
        return all(arrival.uuid.bytes in self._ids for arrival in arrivals)


class Kind(Enum):
    """What messages at or below a checkpoint are."""

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
    """Judges them, for one projector."""

    def __init__(self, history: History, recent: Recent) -> None:
        """Ask `history`, the store, about events that are not in `recent`."""
        self._history = history
        self._recent = recent
        self._compared: dict[str, tuple[int, int | None]] = {}

    def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """Return a verdict for each; the store is asked once, or not at all."""
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
        if len(self._compared) >= _COMPARED:
            self._compared.clear()
        self._compared[checkpoint.stream] = (checkpoint.version, checkpoint.digest)
        return Verdict(Kind.DUPLICATE)


def differs(checkpoint: Checkpoint, stored: Stored) -> str:
    """Return how the store's stream differs from the events that were applied; empty where it does not, as known."""
    if 0 < stored.highest < checkpoint.version:
        return f"the store has versions up to {stored.highest} only, {checkpoint.version} are applied"
    if None not in (stored.digest, checkpoint.digest) and stored.digest != checkpoint.digest:
        return f"the store has other events up to version {checkpoint.version} than those that are applied"
    return ""
