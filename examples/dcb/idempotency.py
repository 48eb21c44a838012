"""Idempotency token: an order that is sent twice with one token is placed once."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

shop = Catalog("shop")
store = EventStore(shop)


@shop.event(tags=["token"])
@dataclass(frozen=True)
class OrderPlaced:
    order: str
    token: str


def place(session: Session, order: str, token: str) -> str:
    decision = store.query(session, QueryItem([f"token:{token}"]))
    if decision.events:
        return str(decision.events[0].event.order)
    store.append(session, shop.stream("order", order), OrderPlaced(order, token), unless_changed=decision)
    return order
