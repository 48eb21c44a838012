"""A shop in one file: orders are placed, their events recorded with them, and a read model keeps each customer's total.

$ python -m eventkit.embedded          # or a PostgreSQL of yours; paste the lines it prints
$ eventkit db upgrade
$ python -m examples.quickstart        # places two orders, and rolls a third one back
$ eventkit projector run examples.quickstart:totals --from store
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from sqlalchemy import Table, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import Catalog, EventStore, TableProjection, load_settings


class Base(DeclarativeBase):
    """The shop's own tables and its read model's; their migrations are the shop's affair."""

    __table__: ClassVar[Table]


class Order(Base):
    """The service's own state."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal]


class CustomerTotals(Base):
    """The read model: only the projector writes it."""

    __tablename__ = "customer_totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)
    total: Mapped[Decimal] = mapped_column(default=Decimal(0))


shop = Catalog("shop")  # the CloudEvents source, and the first part of its topics


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: Decimal


store = EventStore(shop)


def place_order(session: Session, order_id: str, customer: str, total: Decimal) -> None:
    session.add(Order(id=order_id, customer=customer, total=total))
    store.append(session, shop.stream("order", order_id), OrderPlaced(customer, total))  # both or neither


totals = TableProjection("customer_totals", shop, table=CustomerTotals.__table__, key="customer")


@totals.on(OrderPlaced)
def placed(row: CustomerTotals, event: OrderPlaced) -> None:  # that customer's row, loaded or new
    row.orders += 1
    row.total += event.total


def main() -> None:
    """Place two orders, and roll a third one back."""
    url = load_settings().sqlalchemy_url
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        place_order(session, "1", "ada", Decimal("12.50"))
        place_order(session, "2", "ada", Decimal("7.50"))
        session.commit()
        place_order(session, "3", "ada", Decimal(1000))
        session.rollback()
    print("two orders are committed with their events; of the third there is neither")


if __name__ == "__main__":
    main()
