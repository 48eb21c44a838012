"""`eventkit projection rebuild`: build a read model again beside the live one, and swap it in."""

import json
import os
from typing import TYPE_CHECKING

import click
import msgspec

from eventkit.cli.common.bytes import Bytes
from eventkit.cli.common.output import say
from eventkit.cli.projections.options import EXAMPLES, JSON, STORE_URL
from eventkit.cli.topics import checked
from eventkit.config import Settings
from eventkit.errors import ConfigurationError, RebuildRefused

if TYPE_CHECKING:
    from eventkit.projection.define import Projection
    from eventkit.projection.rebuild import RebuildOutcome, RebuildPlan
    from eventkit.worker import Stop


@click.command(name="rebuild", epilog=EXAMPLES, short_help="Build a read model again, and swap it in.")
@click.argument("paths", nargs=-1, required=True, metavar="PACKAGE.MODULE:PROJECTION...")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes, each for a part of the streams (default: one per core, up to 4).",
)
@click.option(
    "--memory",
    type=Bytes(),
    help="Limit for all processes together; less memory means fewer processes and smaller batches (default: 250MB).",
)
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted rebuild, if there is one; the code must be the same."
)
@click.option("--merge", is_flag=True, help="Merge the rows into the live tables instead of swapping names.")
@click.option(
    "--accept-parked", is_flag=True, help="Swap in even if streams are parked that are not parked in the live one."
)
@click.option(
    "--accept-lost", is_flag=True, help="Swap in without events that the store lost in a restore or failover."
)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["store", "transport"]),
    default="store",
    show_default=True,
    help="Read the event store's tables, or the broker's topics from their beginning.",
)
@click.option(
    "--topic", "topics", multiple=True, callback=checked, metavar="NAME", help="Read this topic; may be repeated."
)
@STORE_URL
@JSON
@click.pass_obj
def command(  # noqa: PLR0913 one parameter an option
    settings: Settings, paths: tuple[str, ...], *, workers: int | None, memory: int | None, resume: bool, merge: bool,
    accept_parked: bool, accept_lost: bool, origin: str, topics: tuple[str, ...], store_url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Fold all events again into tables beside the live ones, and swap them in while events keep flowing.

    The live read model is served and kept up to date until the swap. A rebuild that is killed before the swap has
    changed nothing: start it again.
    """
    from eventkit.projection.rebuild import RebuildPlan
    from eventkit.projection.run import load_projections
    from eventkit.worker import Stop, collect_garbage_rarely

    stop = Stop()
    stop.on_signals()
    settings.require_database()
    from_transport = origin == "transport"
    processes = workers or min(os.cpu_count() or 1, 4)
    plan = RebuildPlan(processes, resume, merge, accept_parked, accept_lost, from_transport, topics, store_url, memory)
    _check_origin(settings, plan, workers, memory)
    with stop.idle():
        projections = load_projections(paths)
    collect_garbage_rarely()
    outcomes = [_rebuilt(item, settings, plan, stop) for item in projections]
    if as_json:
        say(json.dumps(list(map(msgspec.to_builtins, outcomes))))
    else:
        say("\n".join(map(_sentence, outcomes)))


def _check_origin(settings: Settings, plan: "RebuildPlan", workers: int | None, memory: int | None) -> None:
    from eventkit.cli.common.preflight import open_broker, preflight_transport

    if plan.topics and not plan.from_transport:
        raise ConfigurationError("--topic says what to read from a broker: say --from transport, too")
    if plan.from_transport and plan.accept_lost:
        raise ConfigurationError("--accept-lost is for events that the store has lost: omit it with --from transport")
    if plan.from_transport:
        if workers and workers > 1:
            raise ConfigurationError("--workers: one process reads the transport, leave it out with --from transport")
        if memory:
            raise ConfigurationError("--memory: the memory for reading a transport is bounded already, leave it out")
        transport = open_broker(settings, "a rebuild would find nothing in it: use kafka://host:9092, or --from store")
        preflight_transport(transport)
        transport.close()


def _rebuilt(projection: "Projection", settings: Settings, plan: "RebuildPlan", stop: "Stop") -> "RebuildOutcome":
    from eventkit.cli.common.heartbeat import heartbeat
    from eventkit.cli.common.lifecycle import together
    from eventkit.cli.projections.progress import RebuildState, shown
    from eventkit.projection.rebuild import RebuildRun

    outcomes: list[RebuildOutcome] = []
    name = projection.name
    with shown(name) as report:
        state = RebuildState(name, report)
        rebuilding = RebuildRun(projection, settings, plan, stop=stop, report=state.note)
        with heartbeat(settings, state.now, role="rebuild", name=name):
            together([lambda _: outcomes.append(rebuilding.run())], stop)
    if not outcomes:
        raise RebuildRefused(f"the rebuild of {projection.name!r} was ended: the live read model is as it was")
    return outcomes[0]


def _sentence(outcome: "RebuildOutcome") -> str:
    how = "swapped in" if outcome.merged is None else f"merged, {outcome.merged:,} rows written"
    parked = f", {outcome.parked:,} streams are parked" if outcome.parked else ""
    return (
        f"{outcome.projection}: {outcome.events:,} events in {outcome.seconds:,.1f} s "
        f"({outcome.events_per_second:,.0f}/s), {how} as generation {outcome.generation}{parked}"
    )
