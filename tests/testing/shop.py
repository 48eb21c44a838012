"""Read models and handlers over the shop's events, for scenarios."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, insert

from eventkit import Catalog, Envelope, EventStore, SqlProjection, TableProjection
from eventkit.messaging.deadlines import Deadlines
from eventkit.messaging.handlers import Handlers

shop = Catalog("shop")
tables = MetaData()


@shop.event
@dataclass(frozen=True)
class Ordered:
    """A customer ordered."""

    customer: str
    amount: int = 1


@shop.event
@dataclass(frozen=True)
class Charge:
    """A command."""

    amount: int


@shop.event
@dataclass(frozen=True)
class Overdue:
    """A deadline."""

    customer: str


totals_table = Table(
    "totals",
    tables,
    Column("customer", Text, primary_key=True),
    Column("amount", Integer, nullable=False, server_default="0"),
    Column("last", Text),
)
log_table = Table("log", tables, Column("customer", Text))

totals = TableProjection("totals", shop, table=totals_table, key="customer")
log = SqlProjection("log", shop, tables=[log_table])
handlers = Handlers("charging", shop)
store = EventStore(shop)


@totals.on(Ordered)
def total(row: Any, event: Ordered, envelope: Envelope[Ordered]) -> None:
    """Add up."""
    if event.amount < 0:
        raise ValueError(event.amount)
    row.amount += event.amount
    row.last = f"{envelope.stream} {envelope.version}"


@log.on(Ordered)
def logged(connection: Connection, event: Ordered) -> None:
    """Write a line."""
    connection.execute(insert(log_table).values(customer=event.customer))


@handlers.on(Ordered)
def ordered(connection: Connection, event: Ordered, envelope: Envelope[Ordered]) -> None:
    """Charge, and wait three days."""
    store.following(envelope).append(connection, shop.stream("charge", envelope.stream.key), Charge(event.amount))
    Deadlines(store).set(connection, envelope.stream, Overdue(event.customer), timedelta(days=3))


@handlers.on(Overdue)
def overdue(connection: Connection, _: Overdue, envelope: Envelope[Overdue]) -> None:
    """Charge again."""
    store.following(envelope).append(connection, shop.stream("charge", envelope.stream.key), Charge(100))
