"""The output of the command, as plain text without control characters, and its questions.

Results go to stdout. Remarks, questions and errors go to stderr. Where the log is JSON they are lines of it, so that
stderr holds nothing but JSON.
"""

import logging
import sys
from collections.abc import Iterable

import click

from eventkit.errors import ConfigurationError
from eventkit.observability import logs
from eventkit.observability.plain import plain

logger = logging.getLogger("eventkit.cli")


def say(text: str = "", *, nl: bool = True) -> None:
    """Print a result, text or JSON; control characters are escaped in the way of JSON."""
    # Without `file`, click would write UTF-8 where the locale's encoding is ASCII.
    click.echo(plain(text), file=sys.stdout, nl=nl)  # noqa: TID251 the one place that prints


def say_each(texts: Iterable[str], *, before: str = "", between: str = "\n\n") -> None:
    """Print texts, each as soon as it is made, and end no line: no list of large events is in memory as a whole."""
    say(before, nl=False)
    for number, text in enumerate(texts):
        say(f"{between}{text}" if number else text, nl=False)


def remark(text: str) -> None:
    """Print a remark on stderr, beside the result."""
    if logs.is_json():
        logger.info("%s", text)
    else:
        click.echo(plain(text), file=sys.stderr)  # noqa: TID251 the one place that prints


def cell(value: object) -> str:
    """Return plain text on one line, for a cell of a table."""
    return plain(str(value).replace("\n", " ").replace("\t", " "))


def number(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def confirm(question: str) -> None:
    """Ask on stderr; end the command unless the answer is yes. Raise ConfigurationError where the log is JSON."""
    if logs.is_json():
        raise ConfigurationError("this asks before it does anything, and --log-format json asks nobody: say --yes")
    click.confirm(plain(question), abort=True, err=True)  # noqa: TID251 the one place that asks
