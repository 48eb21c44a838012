"""`python -m benchmarks relay | append | consume`: measured beside the limit of this machine, on real servers.

Each run starts a PostgreSQL and an Apache Kafka of its own on free ports unless URLs are given, alternates the
contestants in one run, prints a table, and with --json one object on the last line.
"""

import os
import platform
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from benchmarks import append as appending
from benchmarks import consume as consuming
from benchmarks import relay as relaying
from benchmarks import servers
from benchmarks.backlog import Backlog
from benchmarks.measure import last_line, show

Command = Callable[..., Any]


def common(command: Command) -> Command:
    """Add the options that every run has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object on the last line."),
        click.option("--rounds", type=click.IntRange(1), default=5, show_default=True),
        click.option("--database-url", help="Use this server, as a role that may create databases."),
        click.option("--postgres", type=click.Choice(["15", "18"]), help="Start this release."),
    ):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """How fast it is, beside what this machine can do at all."""


@main.command()
@common
@click.option("--transport-url", help="Use this Kafka: kafka://host:9092.")
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--size", type=click.IntRange(1), default=200, show_default=True, help="Bytes of an event's data.")
def relay(  # noqa: PLR0913 one parameter an option
    *,
    as_json: bool,
    rounds: int,
    database_url: str | None,
    postgres: str | None,
    transport_url: str | None,
    events: int,
    streams: int,
    size: int,
) -> None:
    """Drain a backlog to Kafka."""
    console = Console(stderr=as_json)
    with servers.database(database_url, _release(postgres)) as (url, version), servers.broker(transport_url) as kafka:
        backlog = Backlog(url, events=events, streams=streams, size=size)
        run = relaying.RelayRun(url, kafka, backlog)
        for _ in track(range(rounds), "rounds", console=console):
            run.round()
        backlog.close()
        title = f"drain of {backlog.events:,} events to {kafka.version}, PostgreSQL {version}, {_machine()}"
        show(run.rounds.table(title, "of limit", run.ratio), console, relaying.NOTES)
    if as_json:
        last_line(run.figures())


@main.command()
@common
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each measurement.")
@click.option("--processes", type=click.IntRange(1), default=8, show_default=True, help="The most writers at once.")
def append(
    *, as_json: bool, rounds: int, database_url: str | None, postgres: str | None, seconds: float, processes: int
) -> None:
    """Append events in transactions."""
    console = Console(stderr=as_json)
    with servers.database(database_url, _release(postgres)) as (url, version):
        run = appending.AppendRun(url, processes=processes, seconds=seconds)
        with run:
            for _ in track(range(rounds), "rounds", console=console):
                run.round()
        for case in run.cases:
            show(run.table(case, f"PostgreSQL {version}, {_machine()}"), console)
        console.print(appending.NOTES, style="dim", highlight=False)
    if as_json:
        last_line(run.figures())


@main.command()
@common
@click.option("--transport-url", help="Use this Kafka: kafka://host:9092.")
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True, help="A hundred times that: cold.")
def consume(  # noqa: PLR0913 one parameter an option
    *,
    as_json: bool,
    rounds: int,
    database_url: str | None,
    postgres: str | None,
    transport_url: str | None,
    events: int,
    streams: int,
) -> None:
    """Follow a topic with projectors."""
    console = Console(stderr=as_json)
    with servers.database(database_url, _release(postgres)) as (url, version), servers.broker(transport_url) as kafka:
        run = consuming.ConsumeRun(url, kafka, events=events, streams=streams)
        for _ in track(range(rounds), "rounds", console=console):
            run.round()
        run.close()
        title = f"{run.hot.events:,} events from {kafka.version}, PostgreSQL {version}, {_machine()}"
        show(run.rounds.table(title, "of bare", run.ratio), console, consuming.NOTES)
    if as_json:
        last_line(run.figures())


def _release(text: str | None) -> int | None:
    return int(text) if text else None


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
