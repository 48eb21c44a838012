"""`eventkit status`: the whole system on one screen, once or live."""

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from eventkit.cli.common.durations import Seconds
from eventkit.cli.common.output import say
from eventkit.cli.projections.options import STORE_URL
from eventkit.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from eventkit.cli.status.system import SystemStatus
    from eventkit.insights import Insights

_EXAMPLES = """\b
Examples:
  eventkit status
  eventkit status --watch
  eventkit status --watch 10 --json | jq .relay.unsent
  eventkit status --json | jq -e '.attention == []'

Amounts with ~ are estimates. Processes that wrote nothing for 15 seconds are gone. For a check with an exit code, run
`eventkit doctor`.
"""


@click.command(name="status", epilog=_EXAMPLES)
@click.option(
    "--watch",
    type=Seconds(0.2),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show it again every 2 seconds, or so many, until Ctrl-C.",
)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Show that many in a list.")
@STORE_URL
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script; with --watch one a line.")
@click.pass_obj
def command(settings: Settings, *, watch: float | None, limit: int, store_url: str | None, as_json: bool) -> None:
    """Show on one screen the attention list, relay, projections, dead letters, deadlines and processes."""
    from eventkit.cli.common.tables import show
    from eventkit.cli.status.screen import shown
    from eventkit.cli.status.system import look

    def once() -> "SystemStatus":
        with _insights(settings, store_url) as insights:
            return look(insights, limit=limit)

    if watch is not None:
        _watch(once, settings.schema, seconds=watch, as_json=as_json)
    elif as_json:
        say(json.dumps(once().as_json()))
    else:
        show(shown(once(), settings.schema))


def _watch(once: "Callable[[], SystemStatus]", schema: str, *, seconds: float, as_json: bool) -> None:
    """Show it until a signal; while the database is away, report that and try again."""
    from eventkit.cli.common.following import until_signalled
    from eventkit.cli.status.live import LiveScreen
    from eventkit.errors import DatabaseUnavailable, NotPrimary

    status = once()  # an error at the start ends the command
    with until_signalled() as ending, LiveScreen(schema, as_json=as_json) as screen:
        screen.update(status)
        while not ending.wait(seconds):
            try:
                screen.update(once())
            except (DatabaseUnavailable, NotPrimary) as error:
                screen.note(str(error))


@contextmanager
def _insights(settings: Settings, store_url: str | None) -> "Iterator[Insights]":
    from eventkit.insights import Insights
    from eventkit.storage.db import connect

    with ExitStack() as stack:

        def connected(url: str) -> "psycopg.Connection[Any]":
            return stack.enter_context(connect(url, name="status", schema=settings.schema, autocommit=True))

        own = connected(settings.require_database())
        yield Insights(own, settings.schema, store=connected(store_url) if store_url else None)
