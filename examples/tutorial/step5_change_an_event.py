"""Step 5: an event gets another form; events that are stored already are converted when they are read.

Stop the projector of step 3 first: its code knows version 1 of OrderPlaced only.

$ python -m examples.tutorial.step5_change_an_event
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, load_settings

shop = Catalog("shop")


@shop.event(version=2)
@dataclass(frozen=True)
class OrderPlaced:
    order: str
    customer: str
    cents: int  # `total`, a Decimal, in version 1
    currency: str  # not in version 1


@shop.event
@dataclass(frozen=True)
class OrderPaid:
    order: str
    method: str


@shop.upcast(OrderPlaced, from_version=1)
def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    data["cents"] = int(Decimal(data.pop("total")) * 100)
    data["currency"] = "EUR"  # the shop had no other currency then
    return data


store = EventStore(shop)


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    with Session(engine) as session:
        store.append(session, shop.stream("order", "3"), OrderPlaced("3", "eve", 990, "CHF"))
        session.commit()
        for envelope in store.read_category(session, "order"):
            print(f"{envelope.stream} version {envelope.version}: {envelope.event}")


if __name__ == "__main__":
    main()
