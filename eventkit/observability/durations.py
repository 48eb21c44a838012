"""Durations for a person: in the largest unit of which there are at least two."""

_LENGTHS = {"d": 86_400, "h": 3_600, "min": 60}  # seconds


def in_largest_unit(seconds: float) -> tuple[float, str]:
    """Return a duration as a number and its unit: d, h, min or s."""
    for unit, length in _LENGTHS.items():
        if seconds >= 2 * length:
            return seconds / length, unit
    return seconds, "s"
