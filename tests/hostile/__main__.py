"""`python -m tests.hostile [BROKER ...] [--messages 10000] [--reader projector]`: the long form of the campaign.

On each broker a database of its own; ends with 1 where a good event behind such messages was not applied.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import click
import psycopg

from eventkit.transports import open_transport
from tests import servers
from tests.hostile.campaign import pages, run
from tests.hostile.foreign import BROKERS, Foreign, sender
from tests.hostile.talking import alarms, fire, talk
from tests.projection.shop import CREATE
from tests.servers.postgres import PostgresServer, default_release

READERS = ("projector", "deadlines", "talk")


@click.command()
@click.argument("brokers", nargs=-1)
@click.option("--messages", default=10_000, show_default=True, help="How many, on each broker.")
@click.option(
    "--reader", type=click.Choice(READERS), default="projector", help="`talk`: responder, requester, listener."
)
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same messages.")
def main(brokers: tuple[str, ...], messages: int, seed: int, reader: str) -> None:
    """Send made-up messages to each broker, good events between them, and read them all."""
    postgres = PostgresServer.start(default_release())
    try:
        for broker in brokers or BROKERS:
            began = time.monotonic()
            url = postgres.fresh(migrated=True)
            with psycopg.connect(url) as connection:
                connection.execute(CREATE)
            told = _campaign(url, broker, reader, pages(broker, number=messages, start=seed))
            click.echo(f"{broker}, {reader}: {messages:,} messages, {told}, {time.monotonic() - began:.0f} s")
    finally:
        postgres.stop()


def _campaign(url: str, broker: str, reader: str, made_up: Iterator[list[Foreign]]) -> str:
    server = None if broker == "local" else servers.start(broker)
    try:
        address = server.url if server else f"local://{uuid.uuid4().hex}"
        with closing(open_transport(address)) as transport:
            if reader == "talk":
                return f"{talk(url, address, transport, sender(address), made_up):,} malformed, each reader continued"
            projection = alarms() if reader == "deadlines" else None
            told = list(run(url, transport, sender(address), made_up, projection))
    finally:
        if server:
            server.stop()
    fired = f", {fire(url):,} deadlines fired" if reader == "deadlines" else ""
    applied, letters = sum(each.applied for each in told), len(told[-1].letters)
    return f"{applied:,} applied, {letters:,} letters, every good event applied{fired}"


if __name__ == "__main__":
    main()
