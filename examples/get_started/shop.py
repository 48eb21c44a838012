"""A shop: its orders, the events that record them, and a read model with the total of each customer."""

import sys
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import Catalog, EventStore, TableProjection, load_settings


class Base(DeclarativeBase):
    """The tables of the shop."""


class Order(Base):
    """Your own state, as any service has it."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal]


class CustomerTotal(Base):
    """The read model. Only the projector writes it."""

    __tablename__ = "customer_totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)
    total: Mapped[Decimal] = mapped_column(default=Decimal(0))


shop = Catalog("shop")  # names the service; its orders go to the topic shop.order


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: Decimal


store = EventStore(shop)


def place_order(session: Session, order_id: str, customer: str, total: Decimal) -> None:
    session.add(Order(id=order_id, customer=customer, total=total))
    store.append(session, shop.stream("order", order_id), OrderPlaced(customer, total))


totals = TableProjection("customer_totals", shop, table=CustomerTotal, key="customer")


@totals.on(OrderPlaced)
def placed(row: CustomerTotal, event: OrderPlaced) -> None:
    row.orders += 1
    row.total += event.total


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        match sys.argv[1:]:
            case ["place", order_id, customer, total]:
                place_order(session, order_id, customer, Decimal(total))
                session.commit()  # the order and its event, both or neither
            case _:
                for row in session.scalars(select(CustomerTotal).order_by(CustomerTotal.customer)):
                    print(f"{row.customer}: {row.orders} orders, {row.total}")


if __name__ == "__main__":
    main()
