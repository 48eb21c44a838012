"""`eventkit projector`: keep read models up to date, from the broker or from the event store alone.

Several processes share a broker's topics by consumer group. From the store, one process works and the others stand by.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from eventkit.cli.common.durations import Seconds
from eventkit.cli.common.serve import SERVE, HealthEndpoint
from eventkit.cli.topics import checked
from eventkit.config import Settings, has_password
from eventkit.errors import ConfigurationError, EventkitError, VersionMismatch

if TYPE_CHECKING:
    from eventkit.projection.run import ProjectionRunner, SourceOptions

_ADVICE = "a projector process receives nothing: use kafka://host:9092, or --from store, which needs no broker"

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
@click.option(
    "--exit-on-rebuild",
    is_flag=True,
    help="End with exit code 1 where another version is live (default: wait for its rebuild).",
)
@click.option(
    "--from-beginning",
    "begin",
    flag_value="from the beginning",
    help="If the group's offsets are gone, read all messages.",
)
@click.option(
    "--from-now", "begin", flag_value="from now", help="If the group's offsets are gone, skip the messages there are."
)
@click.option("--until-idle", type=Seconds(0), metavar="SECONDS", help="End after so long without events.")
@SERVE
@click.pass_obj
def run(  # noqa: PLR0913 one parameter an option
    settings: Settings, paths: tuple[str, ...], *, origin: str, group: str | None, topics: tuple[str, ...],
    store_url: str | None, until_idle: float | None, exit_on_rebuild: bool, begin: str | None,
    serve: str | None,
) -> None:  # fmt: skip
    """Run projections, process managers and handlers until asked to stop.

    PROJECTION is the name of a projection in a module, or of a sequence of them; the working directory is on the path.

    A projection whose table is missing, or that has to be rebuilt, waits and logs the reason. The others keep running.
    """
    from eventkit.cli.common.heartbeat import heartbeat
    from eventkit.cli.common.lifecycle import at_start, together
    from eventkit.observability.instruments import reading_from
    from eventkit.projection.run import Begin, ProjectionRunner, SourceOptions, Supervised, load_projections
    from eventkit.worker import Stop, collect_garbage_rarely

    stop = Stop()
    stop.on_signals()
    settings.require_database()
    from_store = origin == "store"
    health = HealthEndpoint(serve, settings, stop, role="projector", broker=not from_store, lease=from_store)
    wanted = _checked(SourceOptions(from_store, group, topics, store_url, until_idle, Begin(begin or "refuse")))
    with stop.idle():  # importing the service's modules may take long, or never end
        projections = load_projections(paths)
    runnings = {item.name: ProjectionRunner(item, settings, wanted) for item in projections}
    if not at_start(lambda: _preflight(settings, wanted, runnings.values(), exit_on_rebuild=exit_on_rebuild), stop):
        return
    collect_garbage_rarely()
    supervised = [
        Supervised(running, name=name, until_idle=until_idle, exit_on_rebuild=exit_on_rebuild)
        for name, running in runnings.items()
    ]
    health.started(list(runnings))
    arguments = _arguments(paths, wanted)
    beating = heartbeat(settings, lambda: _state(runnings, arguments), role="projector", name=" ".join(runnings))
    with (
        beating,
        reading_from(lambda: chain.from_iterable(each.readings() for each in runnings.values())),
    ):
        together([each.work for each in supervised], stop)
    for error in (each.error for each in supervised if each.error is not None):
        raise error


def _state(runnings: "Mapping[str, ProjectionRunner]", arguments: list[str]) -> dict[str, Any]:
    """Return the state of all projections, for the heartbeat, and the arguments that start such a process again."""
    return {"projections": {name: running.state() for name, running in runnings.items()}, "arguments": arguments}


def _arguments(paths: Iterable[str], wanted: "SourceOptions") -> list[str]:
    """Return the import paths, and the options that say where the events come from."""
    found = [*paths, *(["--from", "store"] if wanted.from_store else [])]
    found += ["--group", wanted.group] if wanted.group else []
    found += chain.from_iterable(("--topic", topic) for topic in wanted.topics)
    return found + (["--store-url", wanted.store_url] if wanted.store_url else [])


def _checked(wanted: "SourceOptions") -> "SourceOptions":
    if wanted.from_store and (wanted.topics or wanted.group):
        raise ConfigurationError("--topic and --group say what to read from a broker: leave them out with --from store")
    if wanted.store_url and has_password(wanted.store_url):
        raise ConfigurationError(
            "--store-url holds a password, which every user of this machine can see: use ~/.pgpass"
        )
    return wanted


def _preflight(
    settings: Settings, wanted: "SourceOptions", runnings: Iterable["ProjectionRunner"], *, exit_on_rebuild: bool
) -> None:
    """Raise the first error if no projection can run; if some can, they run, and the others wait."""
    from eventkit.cli.common.preflight import preflight_database

    preflight_database(settings)
    if not wanted.from_store:
        _preflight_broker(settings)
    found = [_error_of(running) for running in runnings]
    errors = [error for error in found if error is not None]
    rebuilds = [error for error in errors if isinstance(error, VersionMismatch)]
    if rebuilds and exit_on_rebuild:
        raise rebuilds[0]
    if len(errors) == len(found) and not rebuilds:
        raise errors[0]


def _error_of(running: "ProjectionRunner") -> EventkitError | None:
    from eventkit.projection.failure import translated

    try:
        running.preflight()
    except Exception as error:
        ours = translated(error)
        if isinstance(ours, EventkitError):
            return ours
        raise
    return None


def _preflight_broker(settings: Settings) -> None:
    from eventkit.cli.common.preflight import open_broker, preflight_transport

    transport = open_broker(settings, _ADVICE)
    preflight_transport(transport)
    transport.close()
