"""Litestar: an order and its event in one commit on a pool of psycopg, and a command that is sent without the store.

$ eventkit db upgrade && eventkit topics create shop.order shop.parcel
$ psql "$EVENTKIT_DATABASE_URL" -c "create table orders (id uuid, article text); create table parcels (article text)"
$ eventkit projector run examples.frameworks.litestar_shop:packing       # handles the command
$ uvicorn examples.frameworks.litestar_shop:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

import msgspec
from litestar import Litestar, post
from litestar.params import Body
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Connection, text

from eventkit import Catalog, EventStore, Handlers, Sender, load_settings, open_transport
from eventkit.integrations import Lifespan

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
class OrderPlaced(msgspec.Struct, frozen=True):
    article: str


@shop.event
class PackParcel(msgspec.Struct, frozen=True):
    article: str


settings = load_settings()
pool = AsyncConnectionPool(settings.require_database(), open=False)
sender = Sender(open_transport(settings.require_transport(), settings.transport_options), shop)
packing = Handlers("packing", shop, categories=["parcel"])


@packing.on(PackParcel)
def pack(connection: Connection, command: PackParcel) -> None:
    connection.execute(text("insert into parcels values (:article)"), {"article": command.article})


@post("/orders")
async def place_order(data: Annotated[OrderPlaced, Body()]) -> UUID:
    order = uuid4()
    async with pool.connection() as connection:  # commits at its end
        await connection.execute("insert into orders values (%s, %s)", [order, data.article])
        await store.append_async(connection, shop.stream("order", order), data)
    return order


@post("/parcels")
async def pack_parcel(data: Annotated[PackParcel, Body()]) -> None:
    await sender.send_async(shop.stream("parcel", data.article), data)


@asynccontextmanager
async def pooled(_: Litestar) -> AsyncIterator[None]:
    async with pool:
        yield


app = Litestar([place_order, pack_parcel], lifespan=[pooled, Lifespan(sender)])
