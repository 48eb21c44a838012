"""A curve: measurements at growing sizes, several times each, and their distance from flat.

The slope is that of the straight line through the medians on log-log axes: 0 is flat, 1 doubles with the size, and
from 10 thousand to 10 million a slope of -0.05 loses 29 %. Size 0 stands for a tenth of the smallest other size.
"""

from collections.abc import Sequence
from math import log
from statistics import linear_regression, median

from rich.table import Table


class Curve:
    """One figure at several sizes; `name` is that of its keys."""

    def __init__(self, name: str, title: str, *, across: str, unit: str) -> None:
        """Hold no points yet."""
        self.name = name
        self.title = title
        self.across = across
        self.unit = unit
        self._points: dict[int, list[float]] = {}

    def add(self, size: int, value: float) -> None:
        """Add a measurement at a size."""
        self._points.setdefault(size, []).append(value)

    @property
    def sizes(self) -> list[int]:
        """All sizes, smallest first."""
        return sorted(self._points)

    def at(self, size: int) -> float:
        """Return the median at a size."""
        return median(self._points[size])

    def medians(self) -> dict[int, float]:
        """Return the medians by size."""
        return {size: self.at(size) for size in self.sizes}

    def ratio(self, size: int, other: int) -> float:
        """Return how many times the figure at `other` that at `size` is."""
        return self.at(size) / self.at(other)

    def slope(self) -> float:
        """Return the slope on log-log axes; 0 of a single point."""
        return slope(self.medians())

    def figures(self) -> dict[str, object]:
        """Return the figures for `--json`: sizes, medians and slope."""
        return {
            f"{self.name}_sizes": self.sizes,
            self.name: list(self.medians().values()),
            f"{self.name}_slope": self.slope(),
        }

    def row(self, size: int) -> list[str]:
        """Return a table's cells: median, smallest and largest."""
        values = self._points[size]
        return [shown(value) for value in (median(values), min(values), max(values))]


def slope(points: dict[int, float]) -> float:
    """Return the slope of the straight line through the points on log-log axes."""
    if len(points) < 2 or min(points.values()) <= 0:  # noqa: PLR2004 a line
        return 0.0
    nothing = min((size for size in points if size), default=10) / 10
    return linear_regression([log(size or nothing) for size in points], [log(v) for v in points.values()]).slope


def table(curves: Sequence[Curve]) -> Table:
    """Return the table of one part's curves."""
    drawn = Table(title_justify="left")
    for name in ("", curves[0].across, "median", "min", "max", "slope"):
        drawn.add_column(name, justify="left" if not name else "right", no_wrap=not name)
    for curve in curves:
        for number, size in enumerate(curve.sizes):
            first = (f"{curve.title}, {curve.unit}", f"{curve.slope():+.3f}") if not number else ("", "")
            drawn.add_row(first[0], f"{size:,}", *curve.row(size), first[1])
    return drawn


def shown(value: float) -> str:
    """Return a figure with as many digits as say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 three digits
