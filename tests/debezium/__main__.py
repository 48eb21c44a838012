"""`python -m tests.debezium`: both switches with a kill -9 of Connect, by default over 200,000 events."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from tests.debezium.campaign import HandOver, Writers
from tests.servers.connect import ConnectServer
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, by_tcp


@click.command()
@click.option("--postgres", type=click.Choice(["15", "18"]), default="15", show_default=True)
@click.option("--events", type=click.IntRange(100), default=200_000, show_default=True, help="At least so many.")
@click.option("--writers", "count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=500, show_default=True)
@click.option("--size", type=click.IntRange(1), default=10, show_default=True, help="Events of a transaction, at most.")
def main(postgres: str, events: int, count: int, streams: int, size: int) -> None:
    """Print the counts; exit 1 unless every promise was kept."""
    server, kafka = PostgresServer.start(int(postgres)), KafkaServer().start()
    try:
        url = by_tcp(server.fresh())
        with tempfile.TemporaryDirectory() as folder, ConnectServer(kafka.bootstrap) as connect:
            writers = Writers(url, count=count, streams=streams, pause=0, size=size)
            outcome = HandOver(url, kafka, connect, Path(folder)).run(writers, step=events // 6)
    finally:
        kafka.stop()
        server.stop()
    for name, value in asdict(outcome).items():
        click.echo(f"{name}: {value}")
    raise SystemExit(0 if outcome.clean else 1)


if __name__ == "__main__":
    main()
