"""Shared by these tests: a relay, and projectors that end when nothing comes any more, in the test's own process."""

import uuid
from collections.abc import Sequence

import psycopg
from sqlalchemy import MetaData, Table

from eventkit import EventStore, Handlers, TableProjection
from eventkit.config import Settings
from eventkit.projection.define.projection import Projection
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.relay import Relay
from eventkit.storage.db.connection import connect
from eventkit.transports import Transport, open_transport
from eventkit.worker import Stop, supervise
from tests.projection.shop import CREATE, TOTALS, Ordered, Total, shop

COUNTED = "select customer, orders from totals order by 1"
IDLE = 1.0  # seconds without a message after which a projector ends


def topic(broker: str) -> str:
    """Create a topic of this test's own, of two partitions."""
    name = f"shop.c{uuid.uuid4().hex[:8]}"
    open_transport(broker).create_topics([name], partitions=2)
    return name


def category(broker: str) -> str:
    """Create the topic of a category of this test's own; return the category."""
    return topic(broker).partition(".")[2]


def execute(url: str, *statements: str) -> None:
    """Run statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def with_totals(url: str) -> str:
    """Create the read model's table."""
    execute(url, CREATE)
    return url


def order(url: str, category: str, *numbers: int, customer: str = "ann", schema: str = "eventkit") -> None:
    """Append an order for 1 to each of these streams."""
    store = EventStore(shop, schema=schema)
    with psycopg.connect(url) as connection:
        for number in numbers:
            store.append(connection, shop.stream(category, str(number)), Ordered(customer, 1))


def relayed(url: str, broker: str) -> None:
    """Relay until the outbox is empty."""
    with psycopg.connect(url, autocommit=True) as watching:

        class Emptied(Stop):
            """Asks for an end when the outbox is empty."""

            def is_set(self) -> bool:
                return watching.execute("select not exists (select from eventkit.outbox)").fetchone() == (True,)

        transport = open_transport(broker)
        supervise(relay(url, transport).run, Emptied(), name="relay")
        transport.close()


def relay(url: str, transport: Transport) -> Relay:
    """Return a database's relay."""
    return Relay(lambda name: connect(url, name=name, autocommit=True), transport, schema="eventkit", owner="test")


def projected(url: str, broker: str | None, projection: Projection, **wanted: object) -> None:
    """Run a projector until nothing comes any more."""
    settings = Settings(database_url=url, transport_url=broker)
    idle = SourceOptions(from_store=broker is None, until_idle=IDLE, **wanted)  # type: ignore[arg-type]
    running = ProjectionRunner(projection, settings, idle)
    running.preflight()
    running.work(Stop())


def found(url: str, statement: str) -> list[Sequence[object]]:
    """Return the rows of a query."""
    with psycopg.connect(url) as connection:
        return list(connection.execute(statement.encode()).fetchall())


def totals(*categories: str, version: int = 1, table: str = "totals") -> Projection:
    """Return the read model, reading some categories."""
    columns = (column._copy() for column in TOTALS.columns)
    chosen = TOTALS if table == "totals" else Table(table, MetaData(), *columns)
    projection = TableProjection("totals", shop, table=chosen, key="customer", categories=categories, version=version)

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.orders += 1
        row.amount += event.amount

    return projection


def acting(*categories: str) -> Handlers:
    """Return handlers that write down their calls."""
    handlers = Handlers("acting", shop, categories=categories)

    @handlers.on(Ordered)
    def ordered(connection: object, event: Ordered) -> None:
        connection.exec_driver_sql(  # type: ignore[attr-defined]
            "insert into totals (customer, orders) values (%s, 1) on conflict (customer) do update "
            "set orders = totals.orders + 1",
            (event.customer,),
        )

    return handlers
