"""The outbox in a FastAPI service: an order and its event are committed together, on an AsyncSession.

$ eventkit db upgrade
$ uvicorn examples.outbox_fastapi:app
$ curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"customer": "ada", "total": "12.50"}'
$ eventkit relay run
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import cache
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import Catalog, EventStore, load_settings


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal]


shop = Catalog("shop")
store = EventStore(shop)


@shop.event
class OrderPlaced(BaseModel, frozen=True):  # recorded as the caller sends it
    customer: str
    total: Decimal


@cache
def engine() -> AsyncEngine:
    return create_async_engine(load_settings().sqlalchemy_url)


async def in_a_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine()) as session, session.begin():  # commits when the request ends well
        yield session


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine().begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine().dispose()


app = FastAPI(lifespan=lifespan)
InASession = Annotated[AsyncSession, Depends(in_a_session, scope="function")]  # committed before the answer is sent


@app.post("/orders", status_code=201)
async def place_order(placed: OrderPlaced, session: InASession) -> UUID:
    order = Order(id=uuid4(), **placed.model_dump())
    session.add(order)
    await store.append_async(session, shop.stream("order", order.id), placed)
    if placed.total <= 0:
        raise HTTPException(422, "an order costs something")  # rolled back: neither the order nor its event
    return order.id
