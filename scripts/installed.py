"""Use an installed eventkit from end to end: tables, append, relay, projector, on embedded servers; exit 1 if it fails.

Run it outside of the checkout with the Python whose environment has eventkit-outbox[embedded]: CI does so with the
built wheel, and with every Python of the machine.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text

import eventkit
from eventkit import Catalog, EventStore, TableProjection
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres

ORDERS = 100
shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    """Somebody has bought something."""

    customer: str
    cents: int


totals = TableProjection(
    "totals",
    shop,
    table=Table(
        "totals",
        MetaData(),
        Column("customer", Text, primary_key=True),
        Column("cents", Integer, nullable=False, default=0),
    ),
    key="customer",
)


@totals.on(OrderPlaced)
def placed(row: object, event: OrderPlaced) -> None:
    row.cents += event.cents  # type: ignore[attr-defined]


def main() -> int:
    """Run the flow; return the exit code."""
    print(f"eventkit at {Path(eventkit.__file__).parent}, Python {sys.version.split()[0]}")
    with EmbeddedPostgres() as postgres, EmbeddedKafka() as kafka:
        settings = {**os.environ, "EVENTKIT_DATABASE_URL": postgres.url, "EVENTKIT_TRANSPORT_URL": kafka.url}
        run(settings, "db", "upgrade")
        run(settings, "topics", "create", "shop.order")
        append(postgres.url)
        with subprocess.Popen([command(), "relay", "run"], env=settings) as relay:
            wait_until_sent(postgres.url)
            relay.terminate()
        run(settings, "projector", "run", "installed:totals", "--until-idle", "1")
        run(settings, "db", "verify")
        found = read(postgres.url)
    print(f"read model: {found}; the relay ended with {relay.returncode}")
    return 0 if found == [("ada", ORDERS)] and relay.returncode == 0 else 1


def append(url: str) -> None:
    """Append to a stream in transactions of its own, and create the read model's table."""
    with psycopg.connect(url) as connection:
        connection.execute("create table totals (customer text primary key, cents integer not null)")
    with psycopg.connect(url) as connection:
        for number in range(ORDERS):
            store.append(connection, shop.stream("order", number), OrderPlaced("ada", 1))


def read(url: str) -> Sequence[tuple[str, int]]:
    """Return the read model."""
    with psycopg.connect(url) as connection:
        return connection.execute("select customer, cents from totals").fetchall()


def run(settings: dict[str, str], *words: str) -> None:
    """Run the installed command."""
    subprocess.run([command(), *words], env=settings, cwd=Path(__file__).parent, check=True)


def wait_until_sent(url: str) -> None:
    """Wait until the outbox is empty, for at most two minutes."""
    deadline = time.monotonic() + 120
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("select from eventkit.outbox limit 1").fetchone() is not None:
            if time.monotonic() > deadline:
                sys.exit("the relay has not sent everything in two minutes")
            time.sleep(0.1)


def command() -> str:
    """Return the path of the command that was installed for this Python."""
    return str(Path(sys.executable).with_name("eventkit"))


if __name__ == "__main__":
    sys.exit(main())
