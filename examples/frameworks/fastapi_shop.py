"""FastAPI: an order and its event in one commit, and prices that every worker process keeps in memory.

$ eventkit db upgrade && eventkit topics create shop.order shop.price
$ python -m examples.frameworks.fastapi_shop       # creates the table
$ gunicorn --preload --workers 2 --worker-class asgi examples.frameworks.fastapi_shop:app
"""

from uuid import UUID, uuid4

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import Catalog, EventStore, Listener, Sender, load_settings, open_transport
from eventkit.integrations import Lifespan


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    article: Mapped[str]
    cents: Mapped[int]


shop = Catalog("shop")
store = EventStore(shop)


@shop.event
class OrderPlaced(BaseModel, frozen=True):
    article: str
    cents: int


@shop.event
class PriceChanged(BaseModel, frozen=True):
    article: str
    cents: int


settings = load_settings()
engine = create_async_engine(settings.sqlalchemy_url)
transport = open_transport(settings.require_transport(), settings.transport_options)
sender = Sender(transport, shop)
listener = Listener(transport, shop, categories=["price"])
prices: dict[str, int] = {}


@listener.on(PriceChanged)
def changed(event: PriceChanged) -> None:
    prices[event.article] = event.cents


listener.on_missed(prices.clear)
app = FastAPI(lifespan=Lifespan(sender, listener))


@app.put("/prices/{article}/{cents}", status_code=202)
async def change_price(article: str, cents: int) -> None:
    await sender.broadcast_async(shop.stream("price", article), PriceChanged(article=article, cents=cents))


@app.post("/orders/{article}", status_code=201)
async def place_order(article: str) -> UUID:
    if article not in prices:
        raise HTTPException(409, f"{article} has no price")
    number, placed = uuid4(), OrderPlaced(article=article, cents=prices[article])
    async with AsyncSession(engine) as session, session.begin():
        session.add(Order(id=number, article=article, cents=placed.cents))
        await store.append_async(session, shop.stream("order", number), placed)
    return number


if __name__ == "__main__":
    Base.metadata.create_all(create_engine(settings.sqlalchemy_url))
