"""Starlette: a service asks another one for a price, and answers its own caller with the reply.

$ eventkit db upgrade && eventkit topics create pricing.price shop.replies
$ eventkit projector run examples.frameworks.starlette_shop:desk       # the other service
$ uvicorn examples.frameworks.starlette_shop:app
"""

from dataclasses import dataclass

from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from eventkit import (
    Catalog,
    EventStore,
    Refused,
    Requester,
    RequestTimeout,
    Responder,
    load_settings,
    open_transport,
)
from eventkit.integrations import Lifespan

pricing = Catalog("pricing")


@pricing.event
@dataclass(frozen=True)
class GetPrice:
    article: str


@pricing.event
@dataclass(frozen=True)
class Price:
    cents: int


@pricing.event
@dataclass(frozen=True)
class UnknownArticle:
    article: str


desk = Responder("desk", EventStore(pricing), categories=["price"])


@desk.on(GetPrice)
def price(_connection: Connection, request: GetPrice) -> Price:
    if request.article != "tea":
        raise Refused(UnknownArticle(request.article))
    return Price(350)


settings = load_settings()
transport = open_transport(settings.require_transport(), settings.transport_options)
requester = Requester(transport, pricing, replies="shop.replies")


async def show_price(request: Request) -> JSONResponse:
    article = request.path_params["article"]
    stream = pricing.stream("price", article)
    try:
        found = await requester.request_async(stream, GetPrice(article), Price, timeout=30)
    except Refused:
        return JSONResponse({"error": f"there is no {article}"}, 404)
    except RequestTimeout as error:
        return JSONResponse({"error": str(error)}, 504)
    return JSONResponse({"cents": found.cents})


app = Starlette(routes=[Route("/prices/{article}", show_price)], lifespan=Lifespan(requester))
