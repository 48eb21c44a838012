"""A service that answers with prices, and one that listens: shared by the tests of the patterns.

As a program it is a responder that dies: python -m tests.messaging.pricing DATABASE TRANSPORT POINT [OPTION=VALUE]
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text

from eventkit.config import Settings
from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.envelope import Envelope
from eventkit.errors import Refused
from eventkit.messaging.handlers import Handlers
from eventkit.messaging.replies import Replies, ReplyWriter
from eventkit.messaging.responder import Responder
from eventkit.projection.define.projection import Projection
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.projection.run.sources import TransportSource
from eventkit.storage.events.event_store import EventStore
from eventkit.worker import Stop, supervise

CREATE = "create table asked (article text, of text, count int check (count < 100))"
TOPICS = ["pricing.price", "pricing.order", "shop.replies"]

pricing = Catalog("pricing")
store = EventStore(pricing)


@pricing.event
@dataclass(frozen=True)
class GetPrice:
    """A request."""

    article: str
    count: int = 1


@pricing.event
@dataclass(frozen=True)
class Price:
    """Its reply."""

    article: str
    cents: int


@pricing.event
@dataclass(frozen=True)
class UnknownArticle:
    """Its other reply."""

    article: str


@pricing.event
@dataclass(frozen=True)
class PriceChanged:
    """An event, or a broadcast."""

    article: str


@pricing.event
@dataclass(frozen=True)
class OrderTea:
    """A command."""

    number: int


desk = Responder("desk", store, categories=["price"], replies=Replies(categories=["quote"]))


@desk.on(GetPrice)
def price(connection: Connection, request: GetPrice, envelope: Envelope[GetPrice]) -> Price:
    """Note each work; nobody knows the price of dust."""
    values = {"a": request.article, "o": envelope.stream, "c": request.count}
    connection.execute(text("insert into asked values (:a, :o, :c)"), values)
    if request.article == "dust":
        raise Refused(UnknownArticle(request.article))
    return Price(request.article, 100 * request.count)


def orders(name: str = "orders") -> Handlers:
    """Return handlers that note each order."""
    handlers = Handlers(name, pricing, categories=["order"])

    @handlers.on(OrderTea)
    def order(connection: Connection, command: OrderTea, envelope: Envelope[OrderTea]) -> None:
        values = {"a": name, "o": envelope.stream, "c": command.number}
        connection.execute(text("insert into asked values (:a, :o, :c)"), values)

    return handlers


@contextmanager
def working(
    url: str, transport_url: str, projection: Projection = desk, options: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a projection as `eventkit projector run` does, on a thread."""
    settings = Settings(database_url=url, transport_url=transport_url, transport_options=options or {})
    running, stop = ProjectionRunner(projection, settings, SourceOptions(group=projection.name)), Stop()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            supervise(running.work, stop, name=projection.name)
        except BaseException as error:  # noqa: BLE001 raised again below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def _die(*_: object) -> None:
    os.kill(os.getpid(), 9)


def main(url: str, transport_url: str, point: str, *options: str) -> None:
    """Respond until the first request has come to a crash point."""
    if point == "applied_not_committed":
        apply = desk.apply
        desk.apply = lambda *given: _die(apply(*given))  # type: ignore[method-assign]
    elif point == "committed_not_answered":
        ReplyWriter.replies_to = _die  # type: ignore[method-assign, assignment]
    else:
        TransportSource.acknowledge = _die  # type: ignore[method-assign, assignment]
    with working(url, transport_url, options=dict(option.split("=") for option in options)):
        threading.Event().wait(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
