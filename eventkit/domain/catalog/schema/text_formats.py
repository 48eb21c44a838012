"""Patterns for the texts in events that JSON Schema has no format for."""

import re

# JSON Schema's `format` date-time requires a time zone, as RFC 3339 does, so naive times get a pattern instead.
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
_DATE = {"date-time": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", "time": ""}
_ZONE = {None: r"(Z|[+-][0-9]{2}:[0-9]{2})?", False: ""}
# The format `duration` allows neither a sign nor fractions of a second.
DURATION = (
    r"^[+-]?P(?=[0-9T])([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?"
    r"(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?$"
)
# Constructs that Python's, Rust's and ECMAScript's regular expressions do not have in common.
_FOREIGN = re.compile(r"\\[AZzGpPQEKRXx]|\(\?(?![:=!]|<[=!])|[*+?}]\+|&&|\[\[:")


def time_pattern(kind: str, *, zoned: bool | None) -> str:
    """Return the pattern of a `date-time` or `time` that is not always zoned; None: it may have a zone."""
    return f"^{_DATE[kind]}{_CLOCK}{_ZONE[zoned]}$"


def portable(pattern: str) -> bool:
    """Return whether other languages read a regular expression as the event's class does."""
    return _FOREIGN.search(pattern) is None
