"""The workers beside `examples.outbox_fastapi`, as the files in deploy/ run them: a read model, and a deadline.

$ python -m examples.shop_workers      # makes their tables
$ eventkit projector run examples.shop_workers:totals
$ eventkit projector run examples.shop_workers:payments
$ eventkit timers run
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import Mapped, mapped_column

from eventkit import Envelope, ProcessManager, Reaction, TableProjection, load_settings
from examples.outbox_fastapi import Base, OrderPlaced, shop, store

TIME_TO_PAY = timedelta(days=3)


class CustomerTotal(Base):
    """The read model."""

    __tablename__ = "customer_totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)
    total: Mapped[Decimal] = mapped_column(default=Decimal(0))


class Payment(Base):
    """A process: one order that waits for its payment."""

    __tablename__ = "payments"

    order: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(default="new")


@shop.event
@dataclass(frozen=True)
class PaymentOverdue:
    pass


def order_of(_: object, envelope: Envelope[object]) -> str:
    return envelope.stream


totals = TableProjection("customer_totals", shop, table=CustomerTotal, key="customer")
payments = ProcessManager("payments", store, table=Payment, key="order")


@totals.on(OrderPlaced)
def counted(row: CustomerTotal, event: OrderPlaced) -> None:
    row.orders += 1
    row.total += event.total


@payments.on(OrderPlaced, key=order_of)
def placed(row: Payment, _: OrderPlaced, reaction: Reaction) -> None:
    row.state = "waits for payment"
    reaction.deadline(reaction.envelope.stream, PaymentOverdue(), TIME_TO_PAY)


@payments.on(PaymentOverdue, key=order_of)
def overdue(row: Payment, _: PaymentOverdue) -> None:
    row.state = "overdue"


def main() -> None:
    Base.metadata.create_all(create_engine(load_settings().sqlalchemy_url))


if __name__ == "__main__":
    main()
