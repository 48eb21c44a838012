"""Projections for the processes of the canary's test: they handle people and keep nothing of them."""

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, text

from eventkit import Envelope
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection
from tests.storage.people import Ordered, Registered, crm

PLANS = Table(
    "plans", MetaData(), Column("plan", Text, primary_key=True), Column("named", Integer), Column("redacted", Integer)
)
CREATE = "create table plans (plan text primary key, named int not null default 0, redacted int not null default 0)"

plans = TableProjection("plans", crm, table=PLANS, key="plan", categories=["customer", "order"])
failing = SqlProjection("failing", crm, categories=["customer", "order"])


@plans.on(Registered)
def registered(row: object, event: Registered) -> None:
    """Count who is known and who is not any more."""
    seen = "redacted" if event.name == "[redacted]" else "named"
    setattr(row, seen, (getattr(row, seen) or 0) + 1)


@failing.on(Registered)
def fails(connection: Connection, event: Registered, envelope: Envelope[Registered]) -> None:
    """Fail in Python, with text that must not be shown."""
    connection.execute(text("select 1"))
    raise ValueError(f"{event.name}, {event.phone}, {envelope.event}")


@failing.on(Ordered)
def fails_in_sql(connection: Connection, event: Ordered) -> None:
    """Fail in PostgreSQL, whose message and SQLAlchemy's show the value."""
    connection.execute(text("select cast(:street as int)"), {"street": event.to.street})
