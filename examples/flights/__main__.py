"""`python -m examples.flights`: the options, the exit code, and how Ctrl-C ends it."""

import os
import secrets
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from eventkit.errors import EventkitError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--all", "whole_year", is_flag=True, help="All 336,776 flights of 2013 instead of January's 27,004.")
@click.option("--flights", "limit", type=click.IntRange(min=100), help="Only the first N of them.")
@click.option(
    "--rate",
    type=click.IntRange(min=0),
    default=700,
    show_default=True,
    help="Flights a second, all writers together; 0: no limit.",
)
@click.option(
    "--partitions", type=click.IntRange(min=1), default=12, show_default=True, help="Partitions of the topic."
)
@click.option("--kills/--no-kills", default=True, help="Kill the relay twice and the projector once, or nobody.")
@click.option(
    "--transport",
    type=click.Choice(["embedded", "kafka", "rabbitmq", "redis", "activemq"]),
    default="embedded",
    show_default=True,
    help="The broker: the embedded one, or one that is installed, started for the run.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file, as JSON."
)
def main(*, report: Path | None, **plan: Any) -> None:  # noqa: ANN401 the fields of a Plan
    """Record real flights as events, relay them, build read models, kill processes on the way, and check every event.

    The servers are embedded ones, in a temporary folder, unless EVENTKIT_DATABASE_URL and EVENTKIT_TRANSPORT_URL name
    others; there the run works in schemas and topics of its own and removes them. Exits with 1 if a figure is not as
    expected.
    """
    _name_the_run()
    from examples.flights.run import Plan, run  # noqa: PLC0415  # after the run has its name

    console = Console()
    try:
        failures = run(Plan(**plan), console, report)
    except EventkitError as error:
        console.print(f"[red]{error}", highlight=False)
        sys.exit(1)
    for failure in failures:
        console.print(f"[red]{failure}")
    sys.exit(1 if failures else 0)


def _name_the_run() -> None:
    """Give this run names of its own, here and in all its processes: two of them on one server must not meet."""
    if os.environ.get("EVENTKIT_DATABASE_URL") or os.environ.get("EVENTKIT_TRANSPORT_URL"):
        os.environ["FLIGHTS_RUN"] = f"flights_{secrets.token_hex(4)}"
    os.environ["EVENTKIT_SCHEMA"] = f"{os.environ.get('FLIGHTS_RUN', 'flights')}_eventkit"


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)  # clean up like Ctrl-C does
    main()
