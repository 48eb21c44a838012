"""What the command says on a terminal or into a pipe: plain text, whoever wrote it; and how it asks.

Results go to stdout. Remarks, questions and errors go to stderr: as lines of the log where that is JSON, so that
whatever reads it finds nothing else there.
"""

import logging

import click

from eventkit.errors import ConfigurationError
from eventkit.observability import logs
from eventkit.observability.plain import plain

logger = logging.getLogger("eventkit.cli")


def say(text: str = "", *, nl: bool = True) -> None:
    """Print a result, text or JSON; what prints nothing is escaped in a way that JSON has, too."""
    click.echo(plain(text), nl=nl)  # noqa: TID251 the one place that prints


def remark(text: str) -> None:
    """Say something beside the result, on stderr."""
    if logs.is_json():
        logger.info("%s", text)
    else:
        click.echo(plain(text), err=True)  # noqa: TID251 the one place that prints


def cell(value: object) -> str:
    """Return a text for a cell of a table: on one line, and plain."""
    return plain(str(value).replace("\n", " ").replace("\t", " "))


def confirm(question: str) -> None:
    """Ask, on stderr; end the command unless the answer is yes. Where nobody can be asked, say so."""
    if logs.is_json():
        raise ConfigurationError("this asks before it does anything, and --log-format json asks nobody: say --yes")
    click.confirm(plain(question), abort=True, err=True)  # noqa: TID251 the one place that asks
