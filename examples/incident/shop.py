"""The shop of the incident: orders and invoices, and two read models; one handler has a fault."""

from dataclasses import dataclass

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import Catalog, EventStore, Retry, TableProjection

shop = Catalog("shop")
store = EventStore(shop)


class Base(DeclarativeBase):
    pass


class CustomerTotal(Base):
    __tablename__ = "customer_totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(default=0)


class CustomerOrders(Base):
    __tablename__ = "customer_orders"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    cents: int


@shop.event
@dataclass(frozen=True)
class InvoiceSent:
    order: str


once = Retry(attempts=1)
totals = TableProjection("totals", shop, table=CustomerTotal, key="customer", categories=["order"], retry=once)
board = TableProjection("board", shop, table=CustomerOrders, key="customer", categories=["order"])


@totals.on(OrderPlaced)
def total(row: CustomerTotal, event: OrderPlaced) -> None:
    if event.cents < 0:
        raise ValueError("an order costs something")  # the fault: somebody has placed such an order
    row.cents += event.cents


@board.on(OrderPlaced)
def count(row: CustomerOrders, _: OrderPlaced) -> None:
    row.orders += 1
