"""`python -m tests.faults load | parts | polls | rebuilds | brokers | neighbours`: the fault tests in their long form.

Each starts servers of its own.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from tests import servers
from tests.faults import campaign, neighbours, no_stall
from tests.faults import rebuilds as rebuilding
from tests.faults.part_watch import PartWatch
from tests.faults.run import Crew, run
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
@click.option("--minutes", type=float, default=5.0, show_default=True)
@click.option("--relays", type=int, default=4, show_default=True)
@click.option("--parts", "count", type=int, default=6, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def parts(postgres: str, minutes: float, relays: int, *, count: int, seed: int) -> None:
    """Write under fire while relays share parts, are killed, ended and hung; watch the parts, and judge the topic."""
    server, kafka = PostgresServer.start(int(postgres)), KafkaServer().start()
    try:
        url = server.fresh()
        with tempfile.TemporaryDirectory() as folder, PartWatch(url, count) as watch:
            outcome = run(
                url, kafka, Path(folder), seconds=minutes * 60, seed=seed, crew=Crew(relays=relays, parts=count)
            )
    finally:
        kafka.stop()
        server.stop()
    click.echo(f"{outcome.verdict}\n{dict(outcome.trouble)}\n{watch.described()}\n{outcome.seconds:.0f} s")
    raise SystemExit(0 if outcome.verdict.clean and watch.clean else 1)


@main.command()
@release
def polls(postgres: str) -> None:
    """Measure a poll beside a stalled neighbour."""
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


@main.command()
@release
@click.option("--broker", type=click.Choice(campaign.BROKERS), help="This one alone (default: all four, in turn).")
@click.option("--seconds", type=float, default=120.0, show_default=True, help="How long writers write under fire.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the writers, and of who is struck when.")
@click.option("--json", "as_json", is_flag=True, help="One object a broker, a line each, and no progress.")
@click.option("--logs", type=click.Path(path_type=Path), help="Keep the workers' logs in this folder.")
def brokers(postgres: str, broker: str | None, *, seconds: float, seed: int, as_json: bool, logs: Path | None) -> None:
    """Kill relays, projectors and the broker at random, and judge read model and effects."""
    clean = True
    for name in [broker] if broker else campaign.BROKERS:
        if not as_json:
            click.echo(f"{name}, {seconds:g} s, seed {seed}")
        outcome = _campaign(name, postgres, campaign.Campaign(seconds, seed), logs=logs, quiet=as_json)
        clean = clean and outcome.clean
        facts = {"broker": name, "seed": seed, "clean": outcome.clean, **asdict(outcome)}
        click.echo(json.dumps(facts) if as_json else outcome.described())
    raise SystemExit(0 if clean else 1)


@main.command(name="neighbours")
@release
@click.option("--rounds", type=int, default=5, show_default=True)
def hung_neighbours(postgres: str, rounds: int) -> None:
    """Stop one of two projectors in the middle of a transaction, and measure the other's lag."""
    server, kafka = PostgresServer.start(int(postgres)), KafkaServer().start()
    clean = True
    try:
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                lag = neighbours.measure(server.fresh(), kafka, Path(folder), known=number % 2 == 0)
            click.echo(lag)
            clean = clean and lag.exact and lag.others < neighbours.SESSION + 10 and lag.longest < 5
    finally:
        kafka.stop()
        server.stop()
    raise SystemExit(0 if clean else 1)


def _campaign(
    name: str, postgres: str, wanted: campaign.Campaign, *, logs: Path | None, quiet: bool
) -> campaign.Outcome:
    server, broker = PostgresServer.start(int(postgres)), servers.start(name)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = logs / name if logs else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            return campaign.run(server.fresh(), broker, folder, wanted, (lambda _: None) if quiet else click.echo)
    finally:
        broker.stop()
        server.stop()


if __name__ == "__main__":
    main()
