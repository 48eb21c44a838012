"""Step 2: an aggregate decides what may happen next, on the state that its events give.

$ python -m examples.tutorial.step2_decide
"""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from eventkit import Aggregate, Catalog, EventStore, Repository, evolve, load_settings, retry_on_conflict

shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    order: str
    customer: str
    total: Decimal


@shop.event
@dataclass(frozen=True)
class OrderPaid:
    order: str
    method: str


class NotAllowed(Exception):
    """The order is not in a state that allows this."""


@dataclass
class Order(Aggregate):
    order_id: str = ""
    status: str = "new"

    def place(self, order_id: str, customer: str, total: Decimal) -> None:
        if self.status != "new":
            raise NotAllowed(f"the order is {self.status}")
        self.record(OrderPlaced(order_id, customer, total))

    def pay(self, method: str) -> None:
        if self.status != "placed":
            raise NotAllowed(f"the order is {self.status}")
        self.record(OrderPaid(self.order_id, method))

    @evolve
    def _placed(self, event: OrderPlaced) -> None:
        self.order_id = event.order
        self.status = "placed"

    @evolve
    def _paid(self, event: OrderPaid) -> None:
        self.status = f"paid by {event.method}"


store = EventStore(shop)
orders = Repository(store, Order, category="order")


def pay(session: Session, order_id: str, method: str) -> None:
    with orders.change(session, order_id) as order:  # loads the order, and saves it at the end of the block
        order.pay(method)


def main() -> None:
    sessions = sessionmaker(create_engine(load_settings().sqlalchemy_url))
    with sessions.begin() as session, orders.change(session, "1") as order:
        order.place("1", "ada", Decimal("12.50"))
    retry_on_conflict(sessions.begin, lambda session: pay(session, "1", "card"))  # again, if another was first
    print("paid by card")
    try:
        retry_on_conflict(sessions.begin, lambda session: pay(session, "1", "cash"))
    except NotAllowed as error:
        print(f"cash is refused: {error}")


if __name__ == "__main__":
    main()
