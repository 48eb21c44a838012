"""`eventkit events find` and `show`: events of the store by stream, type, story and time, or by id."""

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from eventkit.cli.common.output import remark, say, say_each
from eventkit.cli.search.options import EXAMPLES, JSON, PAYLOAD, no_event, opened, read_time, remark_unknown, selects
from eventkit.config import Settings
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eventkit.insights import EventInsight, Insights

_MOST_WINDOWS = 100  # pages of the search, each of 10,000 events at most, until the command asks to be run again


@click.command(name="find", epilog=EXAMPLES, short_help="Find events by stream, type, story, time.")
@selects
@click.option(
    "--since", callback=read_time, metavar="TIME", help="Recorded at this time or later: 2h, 2026-11-26T14:00."
)
@click.option("--until", callback=read_time, metavar="TIME", help="Recorded before this time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Show that many.")
@click.option("--after", metavar="KEY", help="Continue behind the KEY that an earlier search has printed.")
@PAYLOAD
@JSON
@click.pass_obj
def find(  # noqa: PLR0913 one parameter an option
    settings: Settings, *, stream: str | None, category: str | None, event_type: str | None, correlation: str | None,
    since: datetime | None, until: datetime | None, limit: int, after: str | None,
    payload: bool, as_json: bool,
) -> None:  # fmt: skip
    """Find the events that match all options, the newest first."""
    from eventkit.cli.search import rendering

    wanted = {"stream": stream, "category": category, "type": event_type, "correlation_id": correlation}
    with opened(settings) as insights:
        search = Search(insights, {**wanted, "since": since, "until": until, "payload": payload}, limit=limit)
        found = search.events(after)
        first = list(itertools.islice(found, 1))
        if not first:
            remark_unknown(insights, category=category, event_type=event_type)
        events = itertools.chain(first, found)
        if as_json:
            _print_json(events, search, payload=payload)
            return
        if payload and first:
            say_each(rendering.in_full(rendering.fields(event, payload=True)) for event in events)
            say()
        elif first:
            _print_table(list(events))
        else:
            say("no such event" if search.following is None else "no such event so far")
    if search.following is not None:
        remark(f"... there may be more: --after {search.following}")


class Search:
    """Up to `limit` events, page by page; `following` is then the key of the next page."""

    def __init__(self, insights: "Insights", wanted: dict[str, Any], *, limit: int) -> None:
        self._insights, self._wanted, self._limit = insights, wanted, limit
        self.following: str | None = None

    def events(self, after: str | None) -> "Iterator[EventInsight]":
        """Yield the events behind a key, one page in memory; it ends after so many windows without an event."""
        left, windows = self._limit, _MOST_WINDOWS
        while left and windows:
            try:
                page = self._insights.events(**self._wanted, after=after, limit=min(left, 1_000))
            except ValueError as error:
                raise ConfigurationError(f"--after: {error}") from error
            self.following = after = page.next
            yield from page.items
            left -= len(page.items)
            windows = _MOST_WINDOWS if page.items and self._wanted["payload"] else windows - 1
            if after is None:
                break


def _print_json(events: "Iterable[EventInsight]", search: Search, *, payload: bool) -> None:
    from eventkit.cli.search import rendering

    objects = (rendering.json_of(rendering.fields(event, payload=payload)) for event in events)
    say_each(objects, before='{"events": [', between=", ")
    say(f'], "next": {rendering.json_of(search.following)}}}')


def _print_table(found: "Sequence[EventInsight]") -> None:
    from eventkit.cli.common.tables import add_row, new_console, new_table, show
    from eventkit.cli.search import rendering

    console = new_console()
    table = new_table("recorded at (UTC)", "stream, version, id", "type")
    for event in found:
        place = f"{event.stream} {event.version}"
        if console.is_terminal:  # an id alone is half as wide as a terminal
            add_row(table, rendering.at(event), place, event.type)
            add_row(table, "", event.id, "")
        else:
            add_row(table, rendering.at(event), f"{place}  {event.id}", event.type)
    show(table, console)


@click.command(name="show", epilog=EXAMPLES, short_help="Show an event in full.")
@click.argument("event", metavar="ID")
@PAYLOAD
@JSON
@click.pass_obj
def show(settings: Settings, event: str, *, payload: bool, as_json: bool) -> None:
    """Show an event in full: place, story, cause, whether it is sent, and its data, which is masked without --payload.

    A masked value is ***; the names of the fields are those of the event's type. An amended event has other data for
    its readers, because the broker had refused it.
    """
    from eventkit.cli.search import rendering

    with opened(settings) as insights:
        found = insights.event(event, payload=True)
    if found is None:
        raise no_event(event)
    facts = rendering.fields(found, payload=payload)
    say(rendering.json_of(facts) if as_json else rendering.in_full(facts))
