"""The four patterns in one service: publish-subscribe, point-to-point, broadcast, request-reply (docs/patterns.md).

$ eventkit db upgrade && eventkit topics create shop.order shop.card shop.price shop.desk shop.replies
$ eventkit relay run
$ eventkit projector run examples.patterns:mails examples.patterns:payments examples.patterns:desk
$ python -m examples.patterns
"""

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, create_engine, insert

from eventkit import (
    Catalog,
    EventStore,
    Handlers,
    Listener,
    Refused,
    Requester,
    Responder,
    Sender,
    load_settings,
    open_transport,
)

metadata = MetaData()
work = Table("work_done", metadata, Column("what", Text), Column("number", Text), Column("cents", Integer))
PRICES = {"tea": 350, "milk": 120}
shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    number: str
    cents: int


@shop.event
@dataclass(frozen=True)
class ChargeCard:
    number: str
    cents: int


@shop.event
@dataclass(frozen=True)
class PriceChanged:
    article: str


@shop.event
@dataclass(frozen=True)
class GetPrice:
    article: str


@shop.event
@dataclass(frozen=True)
class Price:
    article: str
    cents: int


@shop.event
@dataclass(frozen=True)
class UnknownArticle:
    article: str


mails = Handlers("mails", shop, categories=["order"])


@mails.on(OrderPlaced)
def mail(connection: Connection, event: OrderPlaced) -> None:
    connection.execute(insert(work).values(what="mailed", number=event.number, cents=event.cents))


payments = Handlers("payments", shop, categories=["card"])


@payments.on(ChargeCard)
def charge(connection: Connection, command: ChargeCard) -> None:
    connection.execute(insert(work).values(what="charged", number=command.number, cents=command.cents))


desk = Responder("desk", store, categories=["desk"])


@desk.on(GetPrice)
def price(connection: Connection, request: GetPrice) -> Price:
    if request.article not in PRICES:
        raise Refused(UnknownArticle(request.article))
    connection.execute(insert(work).values(what="priced", number=request.article, cents=PRICES[request.article]))
    return Price(request.article, PRICES[request.article])


def main() -> None:
    settings = load_settings()
    engine = create_engine(settings.sqlalchemy_url)
    metadata.create_all(engine)
    transport = open_transport(settings.require_transport(), settings.transport_options)
    cache = dict(PRICES)

    prices = Listener(transport, shop, categories=["price"])

    @prices.on(PriceChanged)
    def changed(event: PriceChanged) -> None:
        cache.pop(event.article, None)

    prices.on_missed(cache.clear)

    with engine.begin() as connection:
        store.append(connection, shop.stream("order", 1), OrderPlaced("1", 350))
        store.append(connection, shop.stream("card", 1), ChargeCard("1", 350))

    with Sender(transport, shop) as sender, prices:
        sender.send(shop.stream("card", 2), ChargeCard("2", 120))
        sender.broadcast(shop.stream("price", "tea"), PriceChanged("tea"))

    with Requester(transport, shop, replies="shop.replies") as requester:
        tea = requester.request(shop.stream("desk", "tea"), GetPrice("tea"), Price, timeout=30)
        try:
            requester.request(shop.stream("desk", "dust"), GetPrice("dust"), Price, timeout=30)
        except Refused as refusal:
            print(f"{tea}, and {refusal.error}")
    transport.close()


if __name__ == "__main__":
    main()
