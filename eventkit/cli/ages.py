"""How long ago, as an operator writes it: `90s`, `30m`, `12h`, `7d`, `2w`."""

import re
from datetime import timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")


def read_age(context: click.Context, parameter: click.Parameter, text: str) -> timedelta:
    """Return an option's value, or say what it looks like."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no age: it looks like 90s, 30m, 12h, 7d or 2w", context, parameter)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
