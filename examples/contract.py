"""A shop whose catalog knows its topics, with a price desk, to be described for other teams.

eventkit catalog show examples.contract:shop
eventkit catalog asyncapi examples.contract:shop --with examples.contract:desk > asyncapi.yaml
eventkit catalog export examples.contract:shop --types typescript > shop.ts
"""

import enum
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from sqlalchemy import Connection, text

from eventkit import Catalog, EventStore, Handlers, Personal, Responder

shop = Catalog("shop")


class Method(enum.Enum):
    CARD = "card"
    INVOICE = "invoice"


@dataclass(frozen=True)
class Line:
    article: str
    price: Decimal
    count: int = 1


@shop.event(category="order", version=2)
@dataclass(frozen=True)
class OrderPlaced:
    """A customer has placed an order."""

    order_id: UUID
    customer: str
    lines: tuple[Line, ...]
    placed_at: datetime
    note: str | None = None


@shop.event(category="order")
@dataclass(frozen=True)
class OrderPaid:
    cents: int
    method: Method


@shop.event(category="order")
@dataclass(frozen=True)
class AddressGiven:
    customer_id: str
    address: Annotated[str, Personal(subject="customer_id", kind="customer")]


@shop.event(category="charge_card")
@dataclass(frozen=True)
class ChargeCard:
    """A command: one of the chargers takes it."""

    order_id: UUID
    cents: int


@shop.event(category="price")
@dataclass(frozen=True)
class GetPrice:
    """A request to the price desk."""

    article: str


@shop.event
@dataclass(frozen=True)
class Price:
    """The reply of the price desk."""

    article: str
    cents: int


@dataclass(frozen=True)
class InvoicePaid:
    """An event of the billing service."""

    invoice: str
    cents: int


shop.consumes("billing", "InvoicePaid", InvoicePaid, category="invoice")
shop.upcast_fields(OrderPlaced, from_version=1, renamed={"client": "customer"})

store = EventStore(shop)
charger = Handlers("charger", shop, categories=["charge_card"])
desk = Responder("price_desk", store, categories=["price"])


@charger.on(ChargeCard)
def charge(connection: Connection, command: ChargeCard) -> None:
    connection.execute(
        text("insert into charges values (:id, :cents)"), {"id": command.order_id, "cents": command.cents}
    )


@desk.on(GetPrice)
def price(connection: Connection, request: GetPrice) -> Price:
    cents = connection.scalar(text("select cents from prices where article = :article"), {"article": request.article})
    return Price(request.article, cents)


if __name__ == "__main__":
    for topic, kinds in shop.messages.items():
        print(topic, *(kind.name for kind in kinds))
