"""Step 6: a handler fails at one event; its stream is parked, the others continue, and you redrive it with mended code.

$ python -m examples.tutorial.step6_mend_a_failure
$ eventkit projector run examples.tutorial.step6_mend_a_failure:broken --from store --until-idle 2
$ eventkit dead-letters list
$ eventkit dead-letters redrive --by revenue --code examples.tutorial.step6_mend_a_failure:mended --yes
$ python -m examples.tutorial.step6_mend_a_failure
"""

from decimal import Decimal

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import TableProjection, load_settings
from examples.tutorial.step5_change_an_event import OrderPlaced, shop


class ReadModels(DeclarativeBase):
    """Tables that only projectors write."""


class Revenue(ReadModels):
    __tablename__ = "revenue"

    customer: Mapped[str] = mapped_column(primary_key=True)
    euros: Mapped[Decimal] = mapped_column(default=Decimal(0))


def revenue(rates: dict[str, Decimal]) -> TableProjection:
    projection = TableProjection("revenue", shop, table=Revenue, key="customer", categories=["order"])

    @projection.on(OrderPlaced)
    def placed(row: Revenue, event: OrderPlaced) -> None:
        row.euros += event.cents * rates[event.currency] / 100

    return projection


# In a service you change the code in place. Here both states of it stand side by side, so that you can run them.
broken = revenue({"EUR": Decimal(1)})  # KeyError at the first order in francs
mended = revenue({"EUR": Decimal(1), "CHF": Decimal("1.10")})


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    ReadModels.metadata.create_all(engine)
    with Session(engine) as session:
        rows = session.scalars(select(Revenue).order_by(Revenue.customer)).all()
    print(", ".join(f"{row.customer}: {row.euros:.2f}" for row in rows) or "no revenue yet")


if __name__ == "__main__":
    main()
