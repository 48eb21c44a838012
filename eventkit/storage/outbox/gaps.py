"""Which positions may still appear below the cursor, and when to look for them again. Pure: no SQL, no clock.

A position that was drawn but is not visible is a *gap*: its transaction is open, or rolled back. Whoever draws a
position holds a lock on `events` until it ends, so each statement that reads rows also returns the *holders* of that
lock, read after its snapshot: a transaction that is listed is invisible in the snapshot, and one that has left an
earlier list is fully visible in it or rolled back.

Gaps are kept in groups by the holders that could own them. A group whose holders all live *sleeps* and costs nothing.
A group that has lost one is read again before anything newer is taken, otherwise version n+1 of a stream could come
before n. A group without holders was read after the last of them ended: what is still missing was rolled back.
docs/decisions/0009 has the proof.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Holders = frozenset[str]

NOBODY: Holders = frozenset()
_SET_LIMIT = 10_000  # more gaps than this are read as one span: `= any(…)` grows by 2 ms a thousand
_RESTLESS = 8  # reads before a group sleeps: short transactions end before, and waking costs a second read


@dataclass(slots=True)
class GapGroup:
    """Positions that the same holders may own: single ones, or a span (above `low`, up to `high`)."""

    holders: Holders
    positions: set[int] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)
    awake: bool = True
    reads: int = 0

    def absorb(self, other: "GapGroup") -> None:
        """Take over another group's positions; too many become one span."""
        self.positions |= other.positions
        self.spans += other.spans
        self.awake |= other.awake
        self.reads = min(self.reads, other.reads)
        if len(self.positions) > _SET_LIMIT or len(self.spans) > 1:
            self.collapse()

    def collapse(self) -> None:
        """Become one span."""
        lows = [low for low, _ in self.spans] + [position - 1 for position in self.positions]
        highs = [high for _, high in self.spans] + list(self.positions)
        self.positions, self.spans = set(), [(min(lows), max(highs))]

    def shrink(self, before: Holders, after: Holders) -> None:
        """Strike the holders that had ended before it, sleep if the others live."""
        self.reads += 1
        self.holders &= before
        settled = bool(self.spans) or self.reads >= _RESTLESS
        self.awake = not (settled and self.holders <= after)


class Gaps:
    """All groups, and the list of holders that came with the last statement."""

    def __init__(self, holders: Holders = NOBODY) -> None:
        """Start with nothing missing."""
        self.holders = holders
        self._groups: list[GapGroup] = []

    def __len__(self) -> int:
        """Return how many single positions are missing."""
        return sum(len(group.positions) for group in self._groups)

    def __bool__(self) -> bool:
        """Return whether anything may still appear."""
        return bool(self._groups)

    def add(self, holders: Holders, *, positions: Iterable[int] = (), span: tuple[int, int] | None = None) -> None:
        """Remember what one statement did not see; it is read at least once more."""
        group = GapGroup(holders, set(positions), [span] if span else [])
        if len(group.positions) > _SET_LIMIT:
            group.collapse()
        if group.positions or group.spans:
            self._groups.append(group)

    def due(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the single positions and the spans that the next statement must read."""
        awake = [group for group in self._groups if group.awake]
        return [p for group in awake for p in group.positions], [span for group in awake for span in group.spans]

    def known(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Return everything that may still appear, asleep or not."""
        return [p for group in self._groups for p in group.positions], [
            s for group in self._groups for s in group.spans
        ]

    def woken(self, after: Holders) -> bool:
        """Take the new list of holders.

        Return whether a sleeping group has lost one: then the rows of that statement must not be used.
        """
        self.holders = after
        lost = [group for group in self._groups if not group.awake and not group.holders <= after]
        for group in lost:
            group.awake = True
        return bool(lost)

    def torn(self, before: Holders, after: Holders) -> bool:
        """Return whether an owner of a span's positions may have ended between two pages of one read.

        Its earlier events would be on a page that was read before it committed, its later ones on this.
        """
        return any(group.awake and group.spans and not group.holders & before <= after for group in self._groups)

    def seen(self, positions: Iterable[int]) -> None:
        """Forget positions that have appeared."""
        found = set(positions)
        for group in self._groups:
            group.positions -= found

    def read_through(self, before: Holders) -> None:
        """All that was due has been read.

        `before` is the list of holders from before the first statement of that read.
        """
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
                    continue  # read after the last of them had ended
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
