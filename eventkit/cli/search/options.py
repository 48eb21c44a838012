"""The options of the commands that look for events."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from eventkit.cli.common.durations import read_age
from eventkit.cli.common.output import remark
from eventkit.config import Settings
from eventkit.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventkit.insights import Insights

_MOST_NAMES = 100  # that insights return: with so many, one that is not among them may exist

Command = TypeVar("Command", bound=Callable[..., Any])

EXAMPLES = """\b
Examples:
  eventkit events find --stream order-42
  eventkit events find --type OrderPlaced --since 2h --json
  eventkit events find --correlation 0192f3c1-8a4e-7d1c-b2aa-6f0e4c1d9a77
  eventkit events show 0192f3c1-8a4e-7d1c-b2aa-6f0e4c1d9a77 --payload
  eventkit events tree 0192f3c1-8a4e-7d1c-b2aa-6f0e4c1d9a77 --from-first
  eventkit events tail --category order

An event's data may be personal: it is shown with --payload only. Personal data that is encrypted stays so.
"""

PAYLOAD = click.option("--payload", is_flag=True, help="Show the events' data and metadata, which may be personal.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
JSON_LINES = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for a script.")


def _stream(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return the name of a stream; refuse one that no stream can have."""
    from eventkit.domain.stream import StreamId
    from eventkit.errors import InvalidStreamId

    try:
        return None if name is None else str(StreamId.parse(name))
    except InvalidStreamId as error:
        raise click.BadParameter(str(error), context, parameter) from error


def selects(command: Command) -> Command:
    """Add the options that say of which stream, category, type and story an event is."""
    for option in (
        click.option("--correlation", metavar="ID", help="Of this story: with this correlation id."),
        click.option("--type", "event_type", metavar="NAME", help="Of this type."),
        click.option("--category", metavar="NAME", help="Of the streams of this category."),
        click.option("--stream", callback=_stream, metavar="NAME", help="Of this stream."),
    ):
        command = option(command)
    return command


def read_time(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """Return the time that an option gives: an age, or a date and time of ISO 8601, in UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            age = read_age(context, parameter, text)
        except click.BadParameter as error:
            wanted = f"{error.message}; or it is a date and time, such as 2026-01-31T14:30"
            raise click.BadParameter(wanted, context, parameter) from error
        return None if age is None else datetime.now(UTC) - age
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def remark_unknown(insights: "Insights", *, category: str | None, event_type: str | None) -> None:
    """Say on stderr that the store has no such category or type, with the names that it has."""
    for what, name, read in (
        ("stream of category", category, insights.categories),
        ("event of type", event_type, insights.event_types),
    ):
        if name is None:
            continue
        names = read()
        if name not in names and len(names) < _MOST_NAMES:
            there = f"there are {', '.join(names)}" if names else "the store is empty"
            remark(f"no {what} {name!r} is in the store: {there}")


def no_event(event: str) -> StorageError:
    """Return the error of an id that no event of the store has."""
    try:
        UUID(event)
    except ValueError:
        reason = "an event's id is a UUID, as `eventkit events find` shows it"
    else:
        reason = "it was pruned or archived, or is of another one"
    return StorageError(f"there is no event {event!r} in this store: {reason}")


@contextmanager
def opened(settings: Settings) -> "Iterator[Insights]":
    """Connect to the event store."""
    from eventkit.insights import Insights
    from eventkit.storage.db import connect

    with ExitStack() as stack:
        url = settings.require_database()
        session = stack.enter_context(connect(url, name="events", schema=settings.schema, autocommit=True))
        yield Insights(session, settings.schema)
