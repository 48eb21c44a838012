"""The shop's process: an order is charged and, once it is paid, sent; unpaid after three days, it is cancelled.

Payments have streams of their own, so one process is fed by several streams.
"""

from datetime import timedelta
from typing import Protocol

from sqlalchemy import Boolean, Column, Integer, MetaData, Table, Text

from eventkit.messaging.process_manager import ProcessManager
from eventkit.messaging.reaction import Reaction
from eventkit.projection.retry_policy import Retry
from tests.messaging.shop import (
    ChargeCard,
    OrderCancelled,
    OrderPaid,
    OrderPlaced,
    PaymentOverdue,
    ShipOrder,
    order,
    shop,
    store,
)

FULFILMENTS = Table(
    "fulfilments",
    MetaData(),
    Column("order", Text, primary_key=True),
    Column("seen", Integer, nullable=False, default=0),
    Column("placed", Boolean, nullable=False, default=False),
    Column("paid", Boolean, nullable=False, default=False),
    Column("closed", Boolean, nullable=False, default=False),
)
CREATE = """create table fulfilments ("order" text primary key, seen int not null, placed bool not null,
                                      paid bool not null, closed bool not null)"""
LIMIT = timedelta(days=3)


class Fulfilment(Protocol):
    """A process."""

    order: str
    seen: int
    placed: bool
    paid: bool
    closed: bool


def payment(key: str) -> str:
    """Return the stream of an order's payments."""
    return shop.stream("payment", key)


def manager(name: str = "fulfilment") -> ProcessManager:
    """Return the process manager."""
    fulfilment = ProcessManager(
        name, store, table=FULFILMENTS, key="order", categories=["order", "payment"], retry=Retry(attempts=1)
    )

    @fulfilment.on(OrderPlaced)
    def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
        process.seen += 1
        process.placed = True
        if event.total < 0:
            raise ValueError(f"order {event.order} for {event.total}")
        reaction.append(shop.stream("charge_card", event.order), ChargeCard(event.order, event.total))
        reaction.deadline(order(event.order), PaymentOverdue(event.order), LIMIT)
        _go_on(process, reaction)

    @fulfilment.on(OrderPaid)
    def paid(process: Fulfilment, event: OrderPaid, reaction: Reaction) -> None:
        del event
        process.seen += 1
        process.paid = True
        _go_on(process, reaction)

    @fulfilment.on(PaymentOverdue)
    def overdue(process: Fulfilment, event: PaymentOverdue, reaction: Reaction) -> None:
        process.seen += 1
        if not process.closed:
            process.closed = True
            reaction.append(order(event.order), OrderCancelled(event.order))

    return fulfilment


def _go_on(process: Fulfilment, reaction: Reaction) -> None:
    """Send placed and paid orders, in either order of the two events."""
    if process.placed and process.paid and not process.closed:
        process.closed = True
        reaction.cancel(order(process.order), PaymentOverdue)
        reaction.append(shop.stream("ship", process.order), ShipOrder(process.order))


fulfilment = manager()
