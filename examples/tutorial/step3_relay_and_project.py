"""Step 3: the relay sends the events to Kafka, and a projector builds a read model from them.

$ python -m examples.tutorial.step3_relay_and_project    # creates the table
$ eventkit relay run &
$ eventkit projector run examples.tutorial.step3_relay_and_project:order_list &
$ python -m examples.tutorial.step3_relay_and_project
"""

from decimal import Decimal

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import TableProjection, load_settings
from examples.tutorial.step2_decide import OrderPaid, OrderPlaced, shop


class ReadModels(DeclarativeBase):
    """Tables that only projectors write."""


class OrderRow(ReadModels):
    __tablename__ = "order_list"

    order: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(default="")
    total: Mapped[Decimal] = mapped_column(default=Decimal(0))
    status: Mapped[str] = mapped_column(default="new")


order_list = TableProjection("order_list", shop, table=OrderRow, key="order", categories=["order"])


@order_list.on(OrderPlaced)
def placed(row: OrderRow, event: OrderPlaced) -> None:
    row.customer = event.customer
    row.total = event.total
    row.status = "placed"


@order_list.on(OrderPaid)
def paid(row: OrderRow, event: OrderPaid) -> None:
    row.status = f"paid by {event.method}"


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    ReadModels.metadata.create_all(engine)
    with Session(engine) as session:
        for row in session.scalars(select(OrderRow).order_by(OrderRow.order)):
            print(f"order {row.order}: {row.customer}, {row.total}, {row.status}")


if __name__ == "__main__":
    main()
