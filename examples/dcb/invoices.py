"""Invoice numbers without gaps: the rule knows no entity, so its events have one constant tag."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

billing = Catalog("billing")
store = EventStore(billing)


@billing.event(tags=lambda _: ["invoices"])
@dataclass(frozen=True)
class InvoiceCreated:
    number: int
    amount: Decimal


def create(session: Session, amount: Decimal) -> int:
    decision = store.query(session, QueryItem(["invoices"]))
    number: int = max((envelope.event.number for envelope in decision), default=0) + 1
    stream = billing.stream("invoice", number)
    store.append(session, stream, InvoiceCreated(number, amount), unless_changed=decision)
    return number
