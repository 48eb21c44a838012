"""The positions that a subscription has returned above its floor, kept as ranges.

The memory grows with the gaps between the positions, not with their number: 16 bytes a range.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence


class PositionRanges:
    """A set of positions; the lowest ones are forgotten together."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Sequence[tuple[int, int]] = ()) -> None:
        starts, ends = zip(*ranges, strict=True) if ranges else ((), ())
        self._starts = array("q", starts)  # ascending; a range has both of its ends
        self._ends = array("q", ends)

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self._starts)

    def __contains__(self, position: int) -> bool:
        place = bisect_right(self._starts, position)
        return place > 0 and position <= self._ends[place - 1]

    @property
    def highest(self) -> int:
        """The highest position; 0 without any."""
        return self._ends[-1] if self._ends else 0

    def add(self, positions: Sequence[int]) -> None:
        """Add ascending positions that are not in the set."""
        for first, last in _runs(positions):
            self._add_run(first, last)

    def forget(self, floor: int) -> None:
        """Remove all positions up to `floor`."""
        count = bisect_right(self._starts, floor)
        if count and self._ends[count - 1] > floor:
            count -= 1
            self._starts[count] = floor + 1
        del self._starts[:count], self._ends[:count]

    def _add_run(self, first: int, last: int) -> None:
        place = bisect_right(self._starts, first)
        follows = place > 0 and self._ends[place - 1] == first - 1
        precedes = place < len(self._starts) and self._starts[place] == last + 1
        if follows and precedes:
            self._ends[place - 1] = self._ends[place]
            del self._starts[place], self._ends[place]
        elif follows:
            self._ends[place - 1] = last
        elif precedes:
            self._starts[place] = first
        else:
            self._starts.insert(place, first)
            self._ends.insert(place, last)


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of ascending positions without a hole."""
    if not positions:
        return
    if positions[-1] - positions[0] == len(positions) - 1:  # one run, as usual
        yield positions[0], positions[-1]
        return
    first = last = positions[0]
    for position in positions[1:]:
        if position != last + 1:
            yield first, last
            first = position
        last = position
    yield first, last
