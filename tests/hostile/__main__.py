"""`python -m tests.hostile [BROKER ...] [--messages 10000] [--seed 1]`: the long form of the campaign.

On each broker a database of its own; ends with 1 where a good event behind such messages was not applied.
"""

import time
import uuid
from contextlib import closing

import click
import psycopg

from eventkit.transports import open_transport
from tests import servers
from tests.hostile.campaign import run
from tests.hostile.foreign import BROKERS, sender
from tests.projection.shop import CREATE
from tests.servers.postgres import PostgresServer, default_release


@click.command()
@click.argument("brokers", nargs=-1)
@click.option("--messages", default=10_000, show_default=True, help="How many, on each broker.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same messages.")
def main(brokers: tuple[str, ...], messages: int, seed: int) -> None:
    """Send made-up messages to each broker, good events between them, and read them all."""
    postgres = PostgresServer.start(default_release())
    try:
        for broker in brokers or BROKERS:
            began = time.monotonic()
            url = postgres.fresh(migrated=True)
            with psycopg.connect(url) as connection:
                connection.execute(CREATE)
            click.echo(f"{broker}: {_campaign(url, broker, messages, seed)}, {time.monotonic() - began:.0f} s")
    finally:
        postgres.stop()


def _campaign(url: str, broker: str, messages: int, seed: int) -> str:
    server = None if broker == "local" else servers.start(broker)
    try:
        address = server.url if server else f"local://{uuid.uuid4().hex}"
        with closing(open_transport(address)) as transport:
            told = list(run(url, broker, transport, sender(address), number=messages, start=seed))
    finally:
        if server:
            server.stop()
    applied, letters = sum(each.applied for each in told), len(told[-1].letters)
    return f"{messages:,} messages, {applied:,} applied, {letters:,} letters, every good event applied"


if __name__ == "__main__":
    main()
