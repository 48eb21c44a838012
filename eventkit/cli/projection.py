"""`eventkit projection`: what the read models' database knows of its projections, and how one is made anew or ended."""

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from eventkit.cli.topics import checked
from eventkit.config import Settings, has_password
from eventkit.errors import ConfigurationError, RebuildRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventkit.projection.projection import Projection
    from eventkit.projection.rebuilding import Outcome, Plan
    from eventkit.projection.status import Status, Statuses
    from eventkit.worker import Stop

_EXAMPLES = """\b
Examples:
  eventkit projection list
  eventkit projection status customer_totals --json
  eventkit projection rebuild shop.read_models:totals
  eventkit projection rebuild reports.models:sales --from transport
  eventkit projection delete customer_totals --tables

The code names a projection package.module:projection; the database knows it by its name.
"""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a script.")
_LOCKS = {"lock_timeout": "5s"}


def checked_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """Refuse a password in an option."""
    del context
    if url and has_password(url):
        raise ConfigurationError(
            f"{parameter.opts[0]} holds a password, which every user of this machine can see: use ~/.pgpass"
        )
    return url


_STORE_URL = click.option(
    "--store-url", callback=checked_url, metavar="URL", help="The event store, where it is in another database."
)


@click.group(name="projection", epilog=_EXAMPLES)
def command() -> None:
    """List, rebuild and delete projections."""


@command.command(name="list", epilog=_EXAMPLES, short_help="List the projections of the database.")
@_STORE_URL
@_JSON
@click.pass_obj
def list_(settings: Settings, *, store_url: str | None, as_json: bool) -> None:
    """List the projections: what is live, how far each is behind its store, what is parked, what is being built."""
    with _statuses(settings, store_url) as statuses:
        found = [statuses.of(item) for item in statuses.registered()]
    if as_json:
        click.echo(json.dumps(list(map(_plain, found))))
    elif found:
        _print_table(found)
    else:
        click.echo("no projection is registered in this database: a projector's first start does it")


@command.command(epilog=_EXAMPLES, short_help="Tell of one projection, or of several.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_STORE_URL
@_JSON
@click.pass_obj
def status(settings: Settings, names: tuple[str, ...], *, store_url: str | None, as_json: bool) -> None:
    """Tell all that the database knows of projections."""
    from eventkit.projection.deleting import unknown

    with _statuses(settings, store_url) as statuses:
        known = {item.name: item for item in statuses.registered()}
        for name in names:
            if name not in known:
                raise unknown(name, known)
        found = [statuses.of(known[name]) for name in names]
    if as_json:
        click.echo(json.dumps(list(map(_plain, found))))
    else:
        click.echo("\n\n".join(map(_sentences, found)))


@command.command(epilog=_EXAMPLES, short_help="Delete a projection: row, checkpoints, dead letters.")
@click.argument("name")
@click.option("--tables", is_flag=True, help="Drop its tables, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def delete(settings: Settings, name: str, *, tables: bool, yes: bool, as_json: bool) -> None:
    """Delete a projection's row, checkpoints and dead letters, and its tables on request.

    A projector that still runs it applies nothing more and ends. A projector started later begins anew, at the first
    event: drop or empty the tables before, or rebuild.
    """
    from eventkit.projection.deleting import delete as delete_projection
    from eventkit.storage.connection import connect

    if not yes:
        too = ", and its tables" if tables else ""
        click.confirm(f"Delete projection {name!r} with its checkpoints and dead letters{too}?", abort=True, err=True)
    with connect(
        settings.require_database(), name="projection", schema=settings.schema, autocommit=True, options=_LOCKS
    ) as connection:
        deleted = delete_projection(connection, settings.schema, name, tables=tables)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(deleted)))
        return
    click.echo(f"projection {name} is deleted: generation {deleted.generation}, {deleted.letters} dead letters")
    if deleted.tables:
        kept = "keep their rows: drop or empty them before a projector starts anew"
        click.echo(f"its tables {', '.join(deleted.tables)} {'are dropped' if deleted.dropped else kept}")


@command.command(epilog=_EXAMPLES, short_help="Make a read model anew beside the live one, and swap it in.")
@click.argument("paths", nargs=-1, required=True, metavar="PACKAGE.MODULE:PROJECTION...")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes, each for a part of the streams (default: one a core, up to 4).",
)
@click.option(
    "--resume", is_flag=True, help="Go on with a rebuild that died, if there is one; the code must be the same."
)
@click.option("--merge", is_flag=True, help="Merge the rows into the live tables instead of swapping names.")
@click.option("--accept-parked", is_flag=True, help="Swap in although streams are parked that are not parked live.")
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
@_STORE_URL
@_JSON
@click.pass_obj
def rebuild(  # noqa: PLR0913 one parameter an option
    settings: Settings,
    paths: tuple[str, ...],
    *,
    workers: int | None,
    resume: bool,
    merge: bool,
    accept_parked: bool,
    origin: str,
    topics: tuple[str, ...],
    store_url: str | None,
    as_json: bool,
) -> None:
    """Fold all events again into tables beside the live ones, and swap them in while events keep flowing.

    The live read model is served and kept up to date until the swap. Where it is killed before, nothing has changed:
    start it again.
    """
    from eventkit.projection.loading import load_projections
    from eventkit.projection.rebuilding import Plan
    from eventkit.worker import Stop, collect_garbage_rarely

    stop = Stop()
    stop.on_signals()
    settings.require_database()
    plan = Plan(
        workers or min(os.cpu_count() or 1, 4), resume, merge, accept_parked, origin == "transport", topics, store_url
    )
    _check_origin(settings, plan, workers)
    projections = load_projections(paths)
    collect_garbage_rarely()
    outcomes = [_rebuilt(item, settings, plan, stop) for item in projections]
    if as_json:
        click.echo(json.dumps(list(map(msgspec.to_builtins, outcomes))))
    else:
        click.echo("\n".join(map(_sentence, outcomes)))


def _check_origin(settings: Settings, plan: "Plan", workers: int | None) -> None:
    from eventkit.cli.reach import open_broker, reach_transport

    if plan.topics and not plan.from_transport:
        raise ConfigurationError("--topic says what to read from a broker: say --from transport, too")
    if plan.from_transport:
        if workers and workers > 1:
            raise ConfigurationError("--workers: one process reads the transport, leave it out with --from transport")
        transport = open_broker(settings, "a rebuild would find nothing in it: use kafka://host:9092, or --from store")
        reach_transport(transport)
        transport.close()


def _rebuilt(projection: "Projection", settings: Settings, plan: "Plan", stop: "Stop") -> "Outcome":
    from eventkit.cli.process import together
    from eventkit.cli.progress import shown
    from eventkit.projection.rebuilding import Rebuilding

    outcomes: list[Outcome] = []
    with shown(projection.name) as tell:
        rebuilding = Rebuilding(projection, settings, plan, stop=stop, tell=tell)
        together([lambda _: outcomes.append(rebuilding.run())], stop)
    if not outcomes:
        raise RebuildRefused(f"the rebuild of {projection.name!r} was ended: the live read model is as it was")
    return outcomes[0]


def _sentence(outcome: "Outcome") -> str:
    how = "swapped in" if outcome.merged is None else f"merged, {outcome.merged:,} rows written"
    parked = f", {outcome.parked:,} streams are parked" if outcome.parked else ""
    return (
        f"{outcome.projection}: {outcome.events:,} events in {outcome.seconds:,.1f} s "
        f"({outcome.events_per_second:,.0f}/s), {how} as generation {outcome.generation}{parked}"
    )


@contextmanager
def _statuses(settings: Settings, store_url: str | None) -> "Iterator[Statuses]":
    from eventkit.projection.status import Statuses
    from eventkit.storage.connection import connect, database_errors

    with ExitStack() as stack:

        def connected(url: str) -> Any:  # noqa: ANN401 a connection
            return stack.enter_context(connect(url, name="projection", schema=settings.schema, autocommit=True))

        own = connected(settings.require_database())
        with database_errors():
            yield Statuses(own, settings.schema, store=connected(store_url) if store_url else None)


def _plain(status: "Status") -> Any:  # noqa: ANN401 JSON
    return msgspec.to_builtins(status)


def _print_table(found: "Sequence[Status]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("projection", "version", "generation", "streams", "behind", "parked", "letters", "building"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("projection", "building") else "right")
    for item in found:
        numbers = (item.version, item.generation, item.streams)
        lag = "-" if item.lag is None else f"{item.lag.events:,}"
        rest = (lag, item.parked, sum(item.letters.values()), _building(item) or "")
        table.add_row(item.name, *map(str, (*numbers, *rest)))
    Console(soft_wrap=True).print(table)


def _sentences(item: "Status") -> str:
    lines = [
        f"{item.name}: version {item.version}, generation {item.generation}",
        f"  tables    {', '.join(item.tables) or 'not declared'}",
        f"  streams   {item.streams:,}, {item.parked:,} of them parked",
        f"  behind    {_lag(item)}",
    ]
    if item.letters:
        lines.append("  letters   " + ", ".join(f"{count:,} {cause}" for cause, count in item.letters.items()))
    if building := _building(item):
        lines.append(f"  building  {building}")
    return "\n".join(lines)


def _lag(item: "Status") -> str:
    if item.lag is None:
        return "unknown: it has applied nothing yet"
    if not item.lag.events:
        return "nothing"
    return f"{item.lag.events:,} events of {item.lag.streams:,} streams, the oldest {item.lag.seconds:,.1f} s old"


def _building(item: "Status") -> str | None:
    new = item.building
    if new is None:
        return None
    share = f"{100 * new.done / new.total:.0f} %" if new.total else "0 %"
    return f"version {new.declared_version} as generation {new.generation}, {share} of {new.total:,} events"
