"""Dynamic price: an order is taken at the price that was shown, for as long as that is the product's newest price."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

shop = Catalog("store")
store = EventStore(shop)


@shop.event(tags=["product"])
@dataclass(frozen=True)
class Priced:
    product: str
    price: Decimal


@shop.event(tags=["product"])
@dataclass(frozen=True)
class Ordered:
    product: str
    price: Decimal


class PriceChanged(Exception):
    """The product has another price now."""


def set_price(session: Session, product: str, price: Decimal) -> None:
    store.append(session, shop.stream("product", product), Priced(product, price))


def order(session: Session, key: str, product: str, shown: Decimal) -> None:
    decision = store.query(session, QueryItem([f"product:{product}"], types=[Priced]))
    if not decision.events or decision.events[-1].event.price != shown:
        raise PriceChanged(product)
    store.append(session, shop.stream("order", key), Ordered(product, shown), unless_changed=decision)
