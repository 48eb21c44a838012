"""Ages and numbers, as an operator writes them: `90s`, `30m`, `12h`, `7d`, `2w`; a text that is none is refused."""

import re
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import click

from eventkit.observability.durations import in_largest_unit

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST_AGE = timedelta(days=36_500)  # so that `now - age` is a datetime that Python can hold
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_MOST_SECONDS = 31_536_000  # a year: every clock and socket takes it


def read_age(context: click.Context, parameter: click.Parameter, text: str | None) -> timedelta | None:
    """Return the age that an option gives, None where it is not given; raise BadParameter with the form of an age."""
    if text is None:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no age: it looks like 90s, 30m, 12h, 7d or 2w", context, parameter)
    age = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if age > _LONGEST_AGE:
        raise click.BadParameter(
            f"{text!r} is longer ago than {_LONGEST_AGE.days} days, the most there is", context, parameter
        )
    return age


def ago(moment: datetime) -> str:
    """Return how long ago a moment was, in its largest unit."""
    seconds = max(0, int((datetime.now(moment.tzinfo) - moment).total_seconds()))
    count, unit = in_largest_unit(seconds)
    return f"{int(count)}{unit[0]}"


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 click's signature
        """Return the number; a text that is none is refused."""
        try:
            int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number", param, ctx)
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A number of seconds up to a year; neither NaN nor infinity."""

    def __init__(self, least: float) -> None:
        super().__init__(min=least, max=_MOST_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 click's signature
        """Return the number; a text that is none is refused."""
        try:
            is_number = isfinite(float(value))
        except ValueError:
            is_number = False
        if not is_number:
            self.fail(f"{value!r} is no number", param, ctx)
        return super().convert(value, param, ctx)
