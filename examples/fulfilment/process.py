"""The next step: the one place that knows the way of an order through the services, in plain Python."""

from datetime import timedelta
from typing import ClassVar

from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import ProcessManager, Reaction
from examples.fulfilment.events import (
    CardCharged,
    ChargeCard,
    OrderCancelled,
    OrderPlaced,
    ParcelRefused,
    ParcelSent,
    PaymentOverdue,
    RefundCard,
    SendParcel,
    shop,
    store,
)


class Base(DeclarativeBase):
    __table__: ClassVar[Table]


class Fulfilment(Base):
    """One row is one process; the manager locks it while it reacts."""

    __tablename__ = "fulfilments"

    order: Mapped[str] = mapped_column(primary_key=True)
    country: Mapped[str] = mapped_column(default="")
    charged: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="new")


fulfilment = ProcessManager("fulfilment", store, table=Fulfilment.__table__, key="order")


@fulfilment.on(OrderPlaced)
def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
    process.state, process.country = "waits for payment", event.country
    reaction.append(shop.stream("card", event.order), ChargeCard(event.order, event.total))
    reaction.deadline(shop.stream("order", event.order), PaymentOverdue(event.order), timedelta(days=3))


@fulfilment.on(CardCharged)
def charged(process: Fulfilment, event: CardCharged, reaction: Reaction) -> None:
    process.charged = event.amount
    if process.state == "cancelled":  # too late
        reaction.append(shop.stream("card", event.order), RefundCard(event.order, event.amount))
        return
    process.state = "waits for the parcel"
    reaction.cancel(shop.stream("order", event.order), PaymentOverdue)
    reaction.append(shop.stream("parcel", event.order), SendParcel(event.order, process.country))


@fulfilment.on(PaymentOverdue)
def overdue(process: Fulfilment, event: PaymentOverdue, reaction: Reaction) -> None:
    if process.state == "waits for payment":  # it may have fired just before it was cancelled
        process.state = "cancelled"
        reaction.append(shop.stream("order", event.order), OrderCancelled(event.order, "not paid in three days"))


@fulfilment.on(ParcelRefused)
def refused(process: Fulfilment, event: ParcelRefused, reaction: Reaction) -> None:
    process.state = "cancelled"
    reaction.append(shop.stream("card", event.order), RefundCard(event.order, process.charged))  # the compensation
    reaction.append(shop.stream("order", event.order), OrderCancelled(event.order, event.why))


@fulfilment.on(ParcelSent)
def sent(process: Fulfilment, event: ParcelSent) -> None:
    del event
    process.state = "sent"
