"""Tracks the positions that may still appear below the cursor, and the time to read them again. No SQL, no clock.

A position that was drawn but is not visible is a *gap*: its transaction is open, or rolled back. A transaction that
draws a position holds a lock on `events` until it ends. So each statement that reads rows also returns the *holders* of
that lock, read after its snapshot. A listed transaction is invisible in the snapshot; a transaction of an earlier list
that is no longer listed is fully visible in the snapshot, or rolled back.

Gaps are kept in groups by the holders that could own them. A group whose holders all live *sleeps* and costs nothing.
A group that has lost a holder is read again before any newer row is taken: otherwise version n+1 of a stream could come
before n. A group without holders was read after the last of them ended: the positions still missing were rolled back.
docs/decisions/0009 has the proof.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Holders = frozenset[str]

NOBODY: Holders = frozenset()
_MAX_POSITIONS = 10_000  # of a group; more are read as one span: `= any(…)` grows by 2 ms a thousand
_READS_BEFORE_SLEEP = 8  # short transactions end before, and waking costs a second read


@dataclass(slots=True)
class GapGroup:
    """Positions that the same holders may own: single ones, or a span (above `low`, up to `high`)."""

    holders: Holders
    positions: set[int] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)
    awake: bool = True
    reads: int = 0

    def absorb(self, other: "GapGroup") -> None:
        """Take over another group's positions; more than 10,000 become one span."""
        self.positions |= other.positions
        self.spans += other.spans
        self.awake |= other.awake
        self.reads = min(self.reads, other.reads)
        if len(self.positions) > _MAX_POSITIONS or len(self.spans) > 1:
            self.collapse()

    def collapse(self) -> None:
        """Become one span."""
        lows = [low for low, _ in self.spans] + [position - 1 for position in self.positions]
        highs = [high for _, high in self.spans] + list(self.positions)
        self.positions, self.spans = set(), [(min(lows), max(highs))]

    def shrink(self, before: Holders, after: Holders) -> None:
        """Remove the holders that had ended before this read; sleep if the others live."""
        self.reads += 1
        self.holders &= before
        settled = bool(self.spans) or self.reads >= _READS_BEFORE_SLEEP
        self.awake = not (settled and self.holders <= after)


class Gaps:
    """All groups, and the list of holders that came with the last statement."""

    def __init__(self, holders: Holders = NOBODY) -> None:
        self.holders = holders
        self._groups: list[GapGroup] = []

    def __len__(self) -> int:
        """Return the number of single positions that are missing."""
        return sum(len(group.positions) for group in self._groups)

    def __bool__(self) -> bool:
        """Return whether anything may still appear."""
        return bool(self._groups)

    def add(self, holders: Holders, *, positions: Iterable[int] = (), span: tuple[int, int] | None = None) -> None:
        """Add positions that a statement did not see; they are read at least once more."""
        group = GapGroup(holders, set(positions), [span] if span else [])
        if len(group.positions) > _MAX_POSITIONS:
            group.collapse()
        if group.positions or group.spans:
            self._groups.append(group)

    def due(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the single positions and the spans that the next statement must read."""
        awake = [group for group in self._groups if group.awake]
        return [p for group in awake for p in group.positions], [span for group in awake for span in group.spans]

    def known(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Return all positions and spans that may still appear, asleep or not."""
        return [p for group in self._groups for p in group.positions], [
            s for group in self._groups for s in group.spans
        ]

    def woken(self, after: Holders) -> bool:
        """Take the new list of holders; return whether a sleeping group has lost one.

        The rows of that statement must not be used then: the group's positions come before them.
        """
        self.holders = after
        lost = [group for group in self._groups if not group.awake and not group.holders <= after]
        for group in lost:
            group.awake = True
        return bool(lost)

    def torn(self, before: Holders, after: Holders) -> bool:
        """Return whether an owner of a span's positions may have ended between two pages of one read.

        Such an owner's events are torn: a page that was read before its commit lacks the earlier ones, and the page
        that is read now has the later ones.
        """
        return any(group.awake and group.spans and not group.holders & before <= after for group in self._groups)

    def seen(self, positions: Iterable[int]) -> None:
        """Forget positions that have appeared."""
        if self._groups:
            found = set(positions)
            for group in self._groups:
                group.positions -= found

    def read_through(self, before: Holders) -> None:
        """Note that all due positions were read; `before` are the holders from before the read's first statement."""
        kept: dict[tuple[Holders, bool], GapGroup] = {}
        for group in self._after(before):
            key = (group.holders, group.awake)
            if key in kept:
                kept[key].absorb(group)
            else:
                kept[key] = group
        self._groups = list(kept.values())

    def _after(self, before: Holders) -> Iterator[GapGroup]:
        for group in self._groups:
            if group.awake:
                group.shrink(before, self.holders)
                if not group.holders:
                    continue  # read after the last of them ended
            if group.positions or group.spans:
                yield group


def missing(cursor: int, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the holes between ascending positions above the cursor, each as (above low, up to high).

    >>> list(missing(3, [4, 6, 9]))
    [(4, 5), (6, 8)]
    """
    for position in positions:
        if position > cursor + 1:
            yield cursor, position - 1
        cursor = position
