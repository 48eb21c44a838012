"""`eventkit projector`: keep read models up to date, from the broker or from the event store alone.

Several processes share the work: by consumer group from a broker; from the store one works and the others stand by.
"""

import threading
from typing import TYPE_CHECKING

import click

from eventkit.config import Settings, has_password
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventkit.worker import Stop

_EXAMPLES = """\b
Examples:
  eventkit projector run shop.read_models:totals
  eventkit projector run shop.read_models:totals shop.read_models:board
  eventkit projector run shop.read_models:totals --from store
  eventkit projector run reports.models:sales --topic shop.order --store-url postgresql://shop@db/shop
"""


@click.group(name="projector", epilog=_EXAMPLES)
def command() -> None:
    """Keep read models up to date."""


@command.command(epilog=_EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="PACKAGE.MODULE:PROJECTION...")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["transport", "store"]),
    default="transport",
    show_default=True,
    help="Read the broker's topics, or the event store's tables (no broker at all).",
)
@click.option("--group", metavar="NAME", help="The consumer group (default: the projection's name).")
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="Read this topic; may be repeated.")
@click.option("--store-url", metavar="URL", help="The event store, where it is not in the read models' database.")
@click.option("--until-idle", type=click.FloatRange(min=0), metavar="SECONDS", help="End when nothing came that long.")
@click.pass_obj
def run(  # noqa: PLR0913 one parameter an option
    settings: Settings,
    paths: tuple[str, ...],
    *,
    origin: str,
    group: str | None,
    topics: tuple[str, ...],
    store_url: str | None,
    until_idle: float | None,
) -> None:
    """Run projections until asked to stop.

    A projection is named by its place in the code, or a sequence of them; the working directory is on the path.
    """
    from eventkit.projection.loading import load_projections
    from eventkit.projection.running import Running, Wanted
    from eventkit.worker import Stop, supervise

    settings.require_database()
    if origin == "transport":
        settings.require_transport()
    if store_url and has_password(store_url):
        raise ConfigurationError(
            "--store-url holds a password, which every user of this machine can see: use ~/.pgpass"
        )
    wanted = Wanted(origin == "store", group, topics, store_url, until_idle)
    stop = Stop()
    stop.on_signals()
    together(
        [
            lambda stop, item=item: supervise(  # type: ignore[misc]
                Running(item, settings, wanted).work, stop, name=f"projector {item.name}"
            )
            for item in load_projections(paths)
        ],
        stop,
    )


def together(workers: "Sequence[Callable[[Stop], None]]", stop: "Stop") -> None:
    """Run each on a thread of its own; the first error stops all and is raised."""
    errors: list[BaseException] = []

    def guarded(work: "Callable[[Stop], None]") -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 raised again below, on the main thread
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)  # a signal is heard between two waits
    if errors:
        raise errors[0]
