"""Step 1: record an event in the transaction that changes your own table.

$ eventkit db upgrade
$ python -m examples.tutorial.step1_record
"""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import Catalog, EventStore, load_settings


class Base(DeclarativeBase):
    """The shop's own tables."""


class Product(Base):
    __tablename__ = "products"

    name: Mapped[str] = mapped_column(primary_key=True)
    price: Mapped[Decimal]


shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class PriceChanged:
    product: str
    price: Decimal


store = EventStore(shop)


def change_price(session: Session, name: str, price: Decimal) -> None:
    session.merge(Product(name=name, price=price))
    store.append(session, shop.stream("product", name), PriceChanged(name, price))


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        change_price(session, "tea", Decimal("4.50"))
        session.commit()
        change_price(session, "tea", Decimal("0.01"))
        session.rollback()  # the row and its event, both

        product = session.get_one(Product, "tea")
        events = list(store.read_stream(session, "product-tea"))
    print(f"the row: {product.name} costs {product.price}")
    print(f"the stream: {[envelope.event for envelope in events]}")


if __name__ == "__main__":
    main()
