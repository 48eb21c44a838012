"""Makes the tables and places three orders: one that goes well, one that cannot be sent, one that nobody pays."""

from sqlalchemy import create_engine, text

from eventkit import load_settings
from examples.fulfilment.events import OrderPlaced, shop, store
from examples.fulfilment.process import Base

ORDERS = [OrderPlaced("1", 40, "Iceland"), OrderPlaced("2", 50, "Atlantis"), OrderPlaced("3", 5000, "Iceland")]


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text('create table if not exists bookings ("order" text not null, amount int not null)'))
        for placed in ORDERS:
            store.append(connection, shop.stream("order", placed.order), placed)
    print(f"{len(ORDERS)} orders are placed")


if __name__ == "__main__":
    main()
