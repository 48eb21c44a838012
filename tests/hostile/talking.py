"""The campaign's readers besides a projector: handlers that set deadlines, and a responder, a requester, a listener."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

import psycopg
from sqlalchemy import Connection

from eventkit import EventStore
from eventkit.domain.envelope import Envelope
from eventkit.errors import RequestTimeout, TopicUnusable
from eventkit.messaging.deadlines import Deadlines
from eventkit.messaging.handlers import Handlers
from eventkit.messaging.listener import Listener
from eventkit.messaging.requester import Requester
from eventkit.messaging.sender import Sender
from eventkit.transports import Transport
from tests.hostile.foreign import Foreign, Send
from tests.messaging.pricing import CREATE, GetPrice, Price, PriceChanged, pricing, working
from tests.messaging.shop import timers
from tests.projection.shop import Noted, Ordered, rows, shop
from tests.waiting import wait_until

TEA = pricing.stream("price", "tea")
TOPICS = ["pricing.price", "shop.replies"]
REQUEST = b'{"article": "tea", "count": 1}'


def alarms() -> Handlers:
    """Return handlers that set a deadline for each event, as its consequence."""
    handlers, store = Handlers("alarms", shop), EventStore(shop)

    @handlers.on(Ordered)
    def ordered(connection: Connection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        due = Deadlines(store.following(envelope, keep=envelope.metadata.extra))
        due.set(connection, shop.stream("order", envelope.id), Noted(event.customer), timedelta(0))

    return handlers


def fire(url: str) -> int:
    """Fire all deadlines; return how many."""
    fired = timers(url).fire()
    assert rows(url, "select count(*) from eventkit.timers") == [(0,)]
    return fired


def talk(url: str, address: str, transport: Transport, send: Send, pages: Iterator[Sequence[Foreign]]) -> int:
    """Send pages to a responder, a requester and a listener; AssertionError where one does not continue behind a page.

    Return how many messages the listener could not read.
    """
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    transport.create_topics(TOPICS, partitions=1)
    transport.subscribe(["pricing.price"], "desk").close()
    heard: list[str] = []
    listener = Listener(transport, pricing, categories=["price"])
    listener.on(PriceChanged)(lambda event: heard.append(event.article))
    with listener, working(url, address), Requester(transport, pricing, replies="shop.replies") as requester:
        wait_until(lambda: _answered(requester), timeout=60, what="the responder to have joined")
        for number, page in enumerate(pages):
            send("pricing.price", [*page, *map(_asking, page)])
            send("shop.replies", page)
            assert requester.request(TEA, GetPrice("tea", 2), Price, timeout=120) == Price("tea", 200)
            with Sender(transport, pricing) as sending:
                sending.broadcast(TEA, PriceChanged(f"tea {number}"))
            wait_until(partial(_has, heard, f"tea {number}"), timeout=60, what="the listener to hear")
    return listener.malformed


def _asking(message: Foreign) -> Foreign:
    """Return a message as a request for a price, with what is odd in its other headers."""
    mine = {"ce_type": "GetPrice", "ce_source": "pricing", "ce_replyto": "shop.replies"}
    others = [(name, value) for name, value in message.headers if name not in {*mine, "ce_streamversion"}]
    value = REQUEST if random.Random(repr(message)).random() < 0.7 else message.value
    return message._replace(value=value, headers=[*others, *mine.items()], own=None)


def _has(heard: Sequence[str], article: str) -> bool:
    return article in heard


def _answered(requester: Requester) -> bool:
    try:
        return bool(requester.request(TEA, GetPrice("tea"), Price, timeout=2))
    except (RequestTimeout, TopicUnusable):
        return False
