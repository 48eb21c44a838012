"""Handlers as `async def`: several charges at a time, each in a transaction of its own (docs/async-handlers.md).

$ eventkit db upgrade
$ python -m examples.async_handlers
$ eventkit projector run examples.async_handlers:payments --from store
"""

import asyncio
from dataclasses import dataclass

from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from eventkit import Catalog, EventStore, Handlers, TryLater, load_settings
from eventkit.domain.envelope import Envelope

metadata = MetaData()
charges = Table("charges", metadata, Column("order", Text), Column("cents", Integer), Column("receipt", Text))
shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class ChargeCard:
    order: str
    cents: int


@shop.event
@dataclass(frozen=True)
class CardCharged:
    receipt: str


class Cards:
    """The card company, as a client of its service would be: one for all handlers, used on one event loop."""

    async def charge(self, cents: int, *, key: str) -> str | None:
        """Take the money once for each key; None while the company is away."""
        await asyncio.sleep(0.01)
        return f"receipt {key[-6:]} for {cents}"


cards = Cards()
payments = Handlers("payments", shop, categories=["charge_card"], batch=1, concurrency=8, timeout=20)


@payments.on(ChargeCard)
async def charge(connection: AsyncConnection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
    receipt = await cards.charge(command.cents, key=str(envelope.id))
    if receipt is None:
        raise TryLater(30, "the card company is away")
    await connection.execute(insert(charges).values(order=command.order, cents=command.cents, receipt=receipt))
    order = shop.stream("order", command.order)
    await store.following(envelope).append_async(connection, order, CardCharged(receipt))


def main() -> None:
    """Ask for twenty charges."""
    engine = create_engine(load_settings().sqlalchemy_url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(20):
            store.append(connection, shop.stream("charge_card", number), ChargeCard(str(number), 100 + number))


if __name__ == "__main__":
    main()
