"""`eventkit projector`: keep read models up to date, from the broker or from the event store alone.

Several processes share the work: by consumer group from a broker; from the store one works and the others stand by.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import click

from eventkit.cli.topics import checked
from eventkit.config import Settings, has_password
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from eventkit.projection.running import Running, Wanted

_ADVICE = "a projector process would hear nothing: use kafka://host:9092, or --from store, which needs no broker"

_EXAMPLES = """\b
Examples:
  eventkit projector run shop.read_models:totals
  eventkit projector run shop.read_models:totals shop.read_models:board
  eventkit projector run shop.read_models:totals --from store
  eventkit projector run shop.processes:fulfilment shop.payments:handlers
  eventkit projector run reports.models:sales --topic shop.order --store-url postgresql://shop@db/shop
"""


@click.group(name="projector", epilog=_EXAMPLES)
def command() -> None:
    """Keep read models up to date, run process managers and handlers."""


@command.command(epilog=_EXAMPLES, short_help="Run projections, process managers, handlers.")
@click.argument("paths", nargs=-1, required=True, metavar="PACKAGE.MODULE:PROJECTION...")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["transport", "store"]),
    default="transport",
    show_default=True,
    help="Read the broker's topics, or the event store's tables (no broker at all).",
)
@click.option("--group", metavar="NAME", help="The consumer group (default: one of its own).")
@click.option(
    "--topic", "topics", multiple=True, callback=checked, metavar="NAME", help="Read this topic; may be repeated."
)
@click.option("--store-url", metavar="URL", help="The event store, where it is not in the read models' database.")
@click.option("--until-idle", type=click.FloatRange(min=0), metavar="SECONDS", help="End when nothing came that long.")
@click.pass_obj
def run(  # noqa: PLR0913 one parameter an option
    settings: Settings, paths: tuple[str, ...], *, origin: str, group: str | None, topics: tuple[str, ...],
    store_url: str | None, until_idle: float | None,
) -> None:  # fmt: skip
    """Run projections, process managers and handlers until asked to stop.

    A projection is named by its place in the code, or a sequence of them; the working directory is on the path.
    """
    from eventkit.cli.process import at_start, together
    from eventkit.projection.loading import load_projections
    from eventkit.projection.running import Running, Wanted
    from eventkit.worker import Stop, collect_garbage_rarely, supervise

    stop = Stop()
    stop.on_signals()
    settings.require_database()
    wanted = _wanted(Wanted(origin == "store", group, topics, store_url, until_idle))
    runnings = {item.name: Running(item, settings, wanted) for item in load_projections(paths)}
    if at_start(lambda: _reach(settings, wanted, runnings.values()), stop):
        collect_garbage_rarely()
        workers = [partial(supervise, running.work, name=f"projector {name}") for name, running in runnings.items()]
        together(workers, stop)


def _wanted(wanted: "Wanted") -> "Wanted":
    if wanted.from_store and (wanted.topics or wanted.group):
        raise ConfigurationError("--topic and --group say what to read from a broker: leave them out with --from store")
    if wanted.store_url and has_password(wanted.store_url):
        raise ConfigurationError(
            "--store-url holds a password, which every user of this machine can see: use ~/.pgpass"
        )
    return wanted


def _reach(settings: Settings, wanted: "Wanted", runnings: Iterable["Running"]) -> None:
    from eventkit.cli.reach import reach_database

    reach_database(settings)
    if not wanted.from_store:
        _reach_broker(settings)
    for running in runnings:
        running.reach()


def _reach_broker(settings: Settings) -> None:
    from eventkit.cli.reach import open_broker, reach_transport

    transport = open_broker(settings, _ADVICE)
    reach_transport(transport)
    transport.close()
