"""The options that choose dead letters, and the confirmation before a command changes them."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from eventkit.cli.common.durations import read_age
from eventkit.cli.common.output import confirm, number, say
from eventkit.errors import CAUSES

if TYPE_CHECKING:
    from eventkit.storage.dead_letters import Choice, LetterFilter

Function = Callable[..., Any]
LIMIT = 50

EXAMPLES = """\b
Examples:
  eventkit dead-letters list
  eventkit dead-letters list --by totals --category order --older-than 1h
  eventkit dead-letters show 17 --payload
  eventkit dead-letters redrive --by totals
  eventkit dead-letters redrive --stream order-42 --code shop.read_models:totals
  eventkit dead-letters edit 17 --data mended.json --catalog shop.events:shop
  eventkit dead-letters discard --type OrderNoted --dry-run
  eventkit dead-letters log --stream order-42

A letter parks its stream. A redrive tries a stream again from its first letter on, in order. A discard skips an event
for good: a projection's checkpoint advances past it, the relay publishes a tombstone in its place.
"""


class LetterId(click.ParamType):  # type: ignore[type-arg] # older releases of click have none
    """The number of a letter, or the id of its event."""

    name = "letter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | UUID:  # noqa: ANN401 click's signature
        if str(value).isdecimal() and len(str(value)) < 19:  # noqa: PLR2004 digits of a bigint
            return int(value)
        try:
            return UUID(value)
        except ValueError:
            self.fail(f"{value!r} is neither a letter's number nor an event's id", param, ctx)


LETTER = LetterId()
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
PAYLOAD = click.option("--payload", is_flag=True, help="Show the events' data, which is masked otherwise.")
SHOWN = click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Show that many.")
AS = click.option("--as", "actor", metavar="NAME", help="The actor for the log (default: your user's name).")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
DRY = click.option("--dry-run", is_flag=True, help="Print the number of letters, and do nothing.")
ALL = click.option("--all", "everything", is_flag=True, help="All letters; required if no other option chooses.")


def selects(function: Function) -> Function:
    """Add the options that choose letters to a command."""
    for decorate in reversed(
        (
            click.argument("letters", nargs=-1, type=LETTER, metavar="[LETTER...]"),
            click.option("--by", metavar="NAME", help="Parked by this projection, or by the relay (`relay`)."),
            click.option("--stream", metavar="STREAM", help="Of this stream."),
            click.option("--category", metavar="NAME", help="Of the streams of this category."),
            click.option("--type", "type_", metavar="NAME", help="Events of this type."),
            click.option("--cause", type=click.Choice(CAUSES), help="As the list shows it."),
            click.option("--older-than", callback=read_age, metavar="AGE", help="Parked longer ago than 15m, 12h, 7d."),
            click.option("--newer-than", callback=read_age, metavar="AGE", help="Parked since then."),
        )
    ):
        function = decorate(function)
    return function


def wanted(  # noqa: PLR0913 one parameter an option
    *,
    letters: tuple[int | UUID, ...],
    by: str | None,
    stream: str | None,
    category: str | None,
    type_: str | None,
    cause: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    everything: bool = True,
) -> "LetterFilter":
    """Return the filter of the options; raise UsageError if there is none and `everything` is False."""
    from eventkit.storage.dead_letters import LetterFilter

    ids = [letter for letter in letters if isinstance(letter, int)]
    event_ids = [letter for letter in letters if isinstance(letter, UUID)]
    if ids and event_ids:
        raise click.UsageError("name letters by their numbers or by their events' ids, not by both at once")
    chosen = LetterFilter(
        ids=ids or None, event_ids=event_ids or None, by=by, stream=stream, category=category, type=type_, cause=cause,
        older_than=older_than, newer_than=newer_than,
    )  # fmt: skip
    if chosen == LetterFilter() and not everything:
        raise click.UsageError("say which letters: their numbers, a filter (--by, --stream, --type ...), or --all")
    return chosen


def confirmed(verb: str, choice: "Choice", *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Print or ask how many letters would be changed; return whether to do it."""
    more = "at least " if choice.more else ""
    count = f"{more}{number(len(choice.ids), 'letter')} of {more}{number(len(choice.streams), 'stream')}"
    if dry_run or not choice.ids:
        if as_json:
            counts = {"letters": len(choice.ids), "streams": len(choice.streams), "more": choice.more}
            say(json.dumps({"dry_run": dry_run, **counts}))
        else:
            say(f"would {verb} {count}; nothing was done" if choice.ids else f"nothing to {verb}")
        return False
    if not yes:
        by = ", ".join(sorted({parked_by for parked_by, _ in choice.streams}))
        confirm(f"{verb.capitalize()} {count}, parked by {by}?")
    return True
