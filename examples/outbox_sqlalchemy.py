"""The outbox in plain SQLAlchemy, with a retry that is safe when the result of a commit is unknown.

$ eventkit db upgrade
$ python -m examples.outbox_sqlalchemy
$ eventkit relay run
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, Uuid, create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from eventkit import NO_STREAM, Catalog, DatabaseUnavailable, EventStore, load_settings

metadata = MetaData()
orders = Table(
    "orders", metadata, Column("id", Uuid, primary_key=True), Column("customer", Text), Column("total", Integer)
)
shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: int


def place_order(engine: Engine, order: UUID, customer: str, total: int) -> None:
    """Place an order, once however often it is called with the same id."""
    with engine.begin() as connection:
        new = insert(orders).values(id=order, customer=customer, total=total).on_conflict_do_nothing()
        connection.execute(new)
        event = OrderPlaced(customer, total)
        stream = shop.stream("order", order)
        store.append(connection, stream, event, expected=NO_STREAM, ids=[order])  # known ids: a success again


def surely(engine: Engine, order: UUID, customer: str, total: int, *, attempts: int = 3) -> None:
    """Try again where the connection was lost, be it before the commit or after it."""
    for attempt in range(1, attempts + 1):
        try:
            place_order(engine, order, customer, total)
        except (OperationalError, DatabaseUnavailable):
            if attempt == attempts:
                raise
        else:
            return


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    metadata.create_all(engine)
    order = uuid4()
    surely(engine, order, "ada", 12)
    surely(engine, order, "ada", 12)  # as if the first answer had been lost
    print("one order and one event are committed")


if __name__ == "__main__":
    main()
