"""Trend lines: small SVG for lists, and the points of the large chart."""

from collections.abc import Sequence

Sample = tuple[float, float | None]  # seconds since 1970, and the value; None where it was unknown

WIDTH, HEIGHT = 120, 24


def sparkline(samples: Sequence[Sample]) -> list[str]:
    """Return the points of the lines of a small chart; unknown values interrupt the line."""
    known = [value for _, value in samples if value is not None]
    if len(known) < 2:  # noqa: PLR2004 a line has two ends
        return []
    first, last, highest = samples[0][0], samples[-1][0], max(known) or 1
    lines: list[list[str]] = [[]]
    for moment, value in samples:
        if value is None:
            lines.append([])
            continue
        x = 1 + (WIDTH - 2) * (moment - first) / ((last - first) or 1)
        y = HEIGHT - 1 - (HEIGHT - 2) * value / highest
        lines[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(line) for line in lines if len(line) > 1]
