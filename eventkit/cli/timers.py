"""`eventkit timers`: the process that fires deadlines, and a list of the next ones.

It needs a database, and neither a broker nor the service's code: a due deadline appends its event to the store.
"""

import json
import logging
import os
import socket
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.output import say
from eventkit.cli.common.serve import SERVE, HealthEndpoint
from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.storage.timers import Listed

logger = logging.getLogger("eventkit.timers")

_EXAMPLES = """\b
Examples:
  eventkit timers run
  eventkit timers list --category order
  eventkit timers list --json --limit 1000

A second `timers run` stands by and takes over when the first dies.
The first SIGINT or SIGTERM finishes the batch in flight, the second ends at once.
"""


@click.group(name="timers", epilog=_EXAMPLES)
def command() -> None:
    """Fire deadlines, and list the next ones."""


@command.command(epilog=_EXAMPLES, short_help="Fire deadlines until asked to stop.")
@SERVE
@click.pass_obj
def run(settings: Settings, serve: str | None) -> None:
    """Append the events of deadlines when they are due, by the database's clock, each once, until asked to stop."""
    from eventkit.cli.common.heartbeat import heartbeat
    from eventkit.cli.common.lifecycle import at_start, together
    from eventkit.cli.common.preflight import preflight_database
    from eventkit.messaging import SESSION, TimersRefused, TimerWorker
    from eventkit.storage.db import connect
    from eventkit.worker import PASSING, Stop, supervise

    stop = Stop()
    stop.on_signals()
    health = HealthEndpoint(serve, settings, stop, role="timers", broker=False)
    url = settings.require_database()
    if not at_start(lambda: preflight_database(settings), stop):
        return
    timers = TimerWorker(
        lambda name: connect(url, name=name, schema=settings.schema, autocommit=True, options=SESSION),
        schema=settings.schema,
        owner=f"{socket.gethostname()}:{os.getpid()}",
    )
    health.started()
    with heartbeat(settings, timers.state, role="timers", name="timers"):
        together([lambda stop: supervise(timers.run, stop, name="timers", passing=(*PASSING, TimersRefused))], stop)
    logger.info("stopped: %d deadlines fired by this process", timers.fired)


def _category(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    from eventkit.domain.stream import check_category
    from eventkit.errors import InvalidStreamId

    try:
        return name if name is None else check_category(name)
    except InvalidStreamId as error:
        raise click.BadParameter(str(error), context, parameter) from error


@command.command(name="list", epilog=_EXAMPLES, short_help="Print the deadlines that come next.")
@click.option("--category", callback=_category, metavar="NAME", help="Only for streams of this category.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show that many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for a script.")
@click.pass_obj
def list_(settings: Settings, category: str | None, limit: int, *, as_json: bool) -> None:
    """Print the deadlines that come next, the soonest first, without the data of their events."""
    from eventkit.storage.db import connect
    from eventkit.storage.timers import listed

    with connect(settings.require_database(), name="timers list", schema=settings.schema, autocommit=True) as session:
        found = listed(session, settings.schema, category=category, limit=limit)
    for deadline in found:
        say(json.dumps(_fields(deadline)) if as_json else _line(deadline))
    if not found and not as_json:
        say("no deadline is set")


def _fields(deadline: "Listed") -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(deadline)
    return fields


def _line(deadline: "Listed") -> str:
    named = "" if deadline.name == deadline.type else f" ({deadline.name})"
    late = ", due" if deadline.due else ""
    return f"{deadline.due_at.isoformat(timespec='seconds')}  {deadline.stream}  {deadline.type}{named}{late}"
