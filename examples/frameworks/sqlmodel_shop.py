"""SQLModel: an order and its event in one commit of a session, and a read model that is a SQLModel too.

$ eventkit db upgrade
$ python -m examples.frameworks.sqlmodel_shop
$ eventkit projector run examples.frameworks.sqlmodel_shop:totals --from store
"""

from decimal import Decimal
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlmodel import Field, Session, SQLModel, create_engine

from eventkit import Catalog, EventStore, TableProjection, load_settings

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
class OrderPlaced(BaseModel, frozen=True):
    customer: str
    total: Decimal


class Order(SQLModel, table=True):
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    customer: str
    total: Decimal


class CustomerTotals(SQLModel, table=True):
    customer: str = Field(primary_key=True)
    orders: int = 0
    total: Decimal = Decimal(0)


totals = TableProjection("customer_totals", shop, table=SQLModel.metadata.tables["customertotals"], key="customer")


@totals.on(OrderPlaced)
def placed(row: CustomerTotals, event: OrderPlaced) -> None:
    row.orders += 1
    row.total += event.total


def place_order(session: Session, customer: str, total: Decimal) -> None:
    order = Order(customer=customer, total=total)
    session.add(order)
    store.append(session, shop.stream("order", order.id), OrderPlaced(customer=customer, total=total))


if __name__ == "__main__":
    engine = create_engine(load_settings().sqlalchemy_url)
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        place_order(session, "ada", Decimal("12.50"))
        place_order(session, "ada", Decimal("7.50"))
        session.commit()
    print("two orders and two events are committed")
