"""The events of the shop, and the requests between its services: a command is an event that asks for something."""

from msgspec import Struct

from eventkit import Catalog, EventStore

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
class OrderPlaced(Struct, frozen=True):
    order: str
    total: int
    country: str


@shop.event
class OrderCancelled(Struct, frozen=True):
    order: str
    why: str


@shop.event
class PaymentOverdue(Struct, frozen=True):  # the deadline's event
    order: str


@shop.event
class ChargeCard(Struct, frozen=True):
    order: str
    amount: int


@shop.event
class CardCharged(Struct, frozen=True):
    order: str
    amount: int


@shop.event
class RefundCard(Struct, frozen=True):
    order: str
    amount: int


@shop.event
class SendParcel(Struct, frozen=True):
    order: str
    country: str


@shop.event
class ParcelSent(Struct, frozen=True):
    order: str


@shop.event
class ParcelRefused(Struct, frozen=True):
    order: str
    why: str
