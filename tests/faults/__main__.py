"""`python -m tests.faults load --minutes 10 | polls | rebuilds`: the fault tests in their long form, with figures.

Each starts servers of its own.
"""

import tempfile
from pathlib import Path

import click

from tests.faults import no_stall
from tests.faults import rebuilds as rebuilding
from tests.faults.run import run
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

release = click.option("--postgres", type=click.Choice(["15", "18"]), default="15", show_default=True)


@click.group()
def main() -> None:
    """Look for lost, invented, reordered and waiting events."""


@main.command()
@release
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def load(postgres: str, minutes: float, seed: int) -> None:
    """Write under fire, relays being killed and hung, and judge the whole topic."""
    server, kafka = PostgresServer.start(int(postgres)), KafkaServer().start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(server.fresh(), kafka, Path(folder), seconds=minutes * 60, seed=seed)
    finally:
        kafka.stop()
        server.stop()
    click.echo(f"{outcome.verdict}\n{dict(outcome.trouble)}\n{outcome.seconds:.0f} s")
    raise SystemExit(0 if outcome.verdict.clean else 1)


@main.command()
@release
def polls(postgres: str) -> None:
    """Measure a poll beside what stalls others."""
    server = PostgresServer.start(int(postgres))
    try:
        figures = no_stall.measure(server, polls=1_000)
    finally:
        server.stop()
    click.echo(f"{figures}\nratio {figures.ratio:.2f}")
    raise SystemExit(0 if figures.ratio < 1.5 else 1)


@main.command()
@release
@click.option("--minutes", type=float, default=5.0, show_default=True)
@click.option("--rate", type=int, default=500, show_default=True, help="Appends a second.")
@click.option("--kills", type=int, default=50, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def rebuilds(postgres: str, minutes: float, rate: int, kills: int, seed: int) -> None:
    """Rebuild a read model under appends, the rebuilds being killed, and watch its readers."""
    server = PostgresServer.start(int(postgres))
    try:
        findings = rebuilding.run(server.fresh(), seconds=minutes * 60, rate=rate, kills=kills, seed=seed)
    finally:
        server.stop()
    click.echo(findings)
    raise SystemExit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()
