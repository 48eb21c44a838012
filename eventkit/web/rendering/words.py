"""Filters of the templates: times, amounts, ages and sizes, as a person reads them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from eventkit.observability.durations import in_largest_unit

_CODE = re.compile(r"`([^`\n]+)`")
_UNITS = ("B", "kB", "MB", "GB", "TB")
_SOON = 10  # below it a rate shows one digit after the point


def age(seconds: float | None) -> str:
    """Return a duration in its largest unit: `45 s`, `12 min`, `3 h`, `5 d`."""
    if seconds is None:
        return "unknown"
    count, unit = in_largest_unit(seconds)
    return f"{seconds:.1f} s" if 0 < seconds < 1 else f"{max(0, int(count)):,} {unit}"


def ago(moment: datetime | None) -> str:
    """Return how long ago a moment was, or how far ahead it is."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {age(-seconds)}" if seconds < -1 else f"{age(int(seconds))} ago"


def lasting(moment: datetime) -> str:
    """Return how long something lasts that began at a moment."""
    return age(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def at(moment: datetime | None) -> str:
    """Return a moment in UTC, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: float | None) -> str:
    """Return a number with separators of thousands."""
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) or (value < _SOON and not value.is_integer()) else f"{round(value):,}"


def amount(value: Any) -> str:  # noqa: ANN401 an Amount of the insights, or None
    """Return an amount, with `about` where it is estimated."""
    if value is None:
        return "unknown"
    return number(value.value) if value.is_exact else f"about {number(value.rounded)}"


def rate(value: float | None) -> str:
    """Return events per second."""
    return "unknown" if value is None else f"{value:,.1f}/s" if value < _SOON else f"{value:,.0f}/s"


def size(value: int | None) -> str:
    """Return a number of bytes in its largest unit."""
    if value is None:
        return "unknown"
    left, unit = float(value), 0
    while left >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004 units of a thousand
        left, unit = left / 1000, unit + 1
    return f"{left:.0f} {_UNITS[unit]}" if unit == 0 or left >= _SOON else f"{left:.1f} {_UNITS[unit]}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def query(values: Mapping[str, object | None], **more: object | None) -> str:
    """Return the query of a link; values that are None or empty are left out."""
    chosen = {name: value for name, value in {**values, **more}.items() if value not in (None, "")}
    return "?" + urlencode(chosen) if chosen else ""


def pretty(value: Any) -> str:  # noqa: ANN401 JSON of any shape
    """Return JSON, indented."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def marked(text: str | None) -> Markup:
    """Return a text as HTML: escaped, with the words between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text or ""))))  # noqa: S704 escaped before


FILTERS = {
    function.__name__: function
    for function in (age, ago, lasting, at, number, amount, rate, size, plural, query, pretty, marked)
}
