"""A small shop with a running projector, for the page's tests: some orders, a poison one, deadlines, a process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit import Catalog, EventStore, Metadata, Retry, TableProjection

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    """A customer ordered something."""

    customer: str
    total: int


@shop.event
@dataclass(frozen=True)
class OrderPaid:
    """The customer has paid."""

    amount: int


class CustomerTotal(Protocol):
    """A row of the read model."""

    customer: str
    orders: int
    total: int


CUSTOMER_TOTALS = Table(
    "customer_totals",
    MetaData(),
    Column("customer", Text, primary_key=True),
    Column("orders", Integer, nullable=False, default=0),
    Column("total", Integer, nullable=False, default=0),
)
customer_totals = TableProjection(
    "customer_totals", shop, table=CUSTOMER_TOTALS, key="customer", retry=Retry(attempts=1)
)


@customer_totals.on(OrderPlaced)
def placed(row: CustomerTotal, event: OrderPlaced) -> None:
    """Add the order; a negative one is poison."""
    if event.total < 0:
        raise ValueError(f"an order for {event.total}")
    row.orders += 1
    row.total += event.total


MANAGER = """insert into eventkit.projections (name, kind, tables, categories, declared_version)
values ('shipping', 'process manager', array['public.shipping'], array['order'], 1)"""


def create(url: str) -> None:
    """Create the read model's table."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table customer_totals (customer text primary key, orders int not null, total int not null)"
        )


def manage(url: str) -> None:
    """Create a process manager's table with 60 processes, and register it."""
    with psycopg.connect(url) as connection:
        connection.execute("create table shipping (order_number int primary key, address text not null)")
        connection.execute("insert into shipping select n, 'street ' || n from generate_series(1, 60) n")
        connection.execute("grant select on shipping to public")
        connection.execute(MANAGER)


def place(url: str, stream: str, *events: object, metadata: Metadata | None = None) -> list[str]:
    """Append events; return their ids."""
    with psycopg.connect(url) as connection:
        appended = store.append(connection, shop.stream(*stream.split("-", 1)), *events, metadata=metadata)
    return [str(each) for each in appended.ids]


@contextmanager
def projecting(url: str) -> Iterator[None]:
    """Run the projector on the store, in a process."""
    command = [sys.executable, "-m", "eventkit.cli", "projector", "run", "tests.web.shop:customer_totals"]
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    with subprocess.Popen([*command, "--from", "store"], env=environment) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
