"""A request is believed in where its reply is to go only as far as its responder declares it."""

import json
import uuid

import psycopg
import pytest

from eventkit.domain.metadata import Metadata
from eventkit.errors import CatalogError
from eventkit.messaging.replies import Replies
from eventkit.messaging.responder import Responder
from eventkit.transports.local import LocalTransport
from tests.hostile.conftest import Broker
from tests.hostile.foreign import Foreign, sender
from tests.messaging.pricing import CREATE, GetPrice, price, store, working
from tests.messaging.shop import rows
from tests.transports.traffic import read
from tests.waiting import wait_until

LETTERS = "select stream, cause, error from eventkit.dead_letters order by id"
PLACES = "select distinct stream from eventkit.events"


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the responder's tables."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url


def responder(replies: Replies) -> Responder:
    """Return a price desk."""
    desk = Responder("desk", store, categories=["price"], replies=replies)
    desk.on(GetPrice)(price)
    return desk


def request(**more: str) -> Foreign:
    """Return a request, for tea."""
    headers = {
        "ce_specversion": "1.0", "ce_id": str(uuid.uuid4()), "ce_source": "pricing", "ce_type": "GetPrice",
        "ce_time": "2026-01-01T00:00:00Z", **more,
    }  # fmt: skip
    return Foreign("price-tea", b'{"article": "tea", "count": 1}', list(headers.items()))


@pytest.mark.parametrize(
    "wanted",
    ["order-1", "quotes-1", "Quote-1", "quote", "quote-\x00", "quote-1\nquote-2", "", "price-tea", "x" * 10_000],
)
def test_a_reply_is_appended_to_no_stream_that_is_not_declared(url: str, wanted: str) -> None:
    """The request becomes a dead letter that says so, and is not worked; nothing is in the store or on its way."""
    name = uuid.uuid4().hex
    LocalTransport(name).create_topics(["pricing.price", "shop.replies"], partitions=1)
    forged = request(ce_streamversion="1", ce_metadata=json.dumps({"reply_to": wanted}))

    with working(url, f"local://{name}", responder(Replies(categories=["quote"]))):
        sender(f"local://{name}")("pricing.price", [forged])
        wait_until(lambda: rows(url, LETTERS), timeout=60, what="the letter")

    [(stream, cause, error)] = rows(url, LETTERS)
    assert (stream, cause) == ("price-tea", "failed")
    assert error.startswith("ReplyRefused: it asks for its reply in the stream")
    assert len(error) < 400
    assert (rows(url, PLACES), rows(url, "select * from asked")) == ([], [])


@pytest.mark.parametrize(
    "wanted", ["shop.order", "shop.replies.order", "replies", "../x.replies", "a" * 300 + ".replies"]
)
def test_a_reply_is_sent_on_no_topic_that_is_not_declared(url: str, wanted: str) -> None:
    """Not even to say that the request was refused; declared are the topics that end with `.replies`."""
    name = uuid.uuid4().hex
    transport = LocalTransport(name)
    transport.create_topics(["pricing.price", "shop.replies", wanted], partitions=1)
    heard = transport.listen([wanted])

    with working(url, f"local://{name}", responder(Replies())):
        sender(f"local://{name}")("pricing.price", [request(ce_replyto=wanted)])
        wait_until(lambda: rows(url, LETTERS), timeout=60, what="the letter")
        good = transport.listen(["shop.replies"])
        sender(f"local://{name}")("pricing.price", [request(ce_replyto="shop.replies")])
        replies = good.receive(1, 30)

    [(_, cause, error)] = rows(url, LETTERS)
    assert cause == "failed"
    assert error.startswith("ReplyRefused: it asks for its reply on the topic")
    assert dict(replies[0].headers)["ce_type"] == "Price"
    assert heard.receive(1, 0) == []
    assert len(rows(url, "select * from asked")) == 1


@pytest.mark.parametrize("broker", ["rabbitmq", "activemq"], indirect=True)
def test_a_request_with_a_long_id_is_answered_under_a_part_of_it(url: str, broker: Broker) -> None:
    """Its id is twice in a reply, whose headers the broker would refuse, with the connection, for ever."""
    long = "x" * (8_500 if broker.name == "activemq" else 100_000)
    broker.transport.create_topics(["pricing.price", "shop.replies"], partitions=1)
    broker.transport.subscribe(["pricing.price"], "desk").close()
    heard = broker.transport.listen(["shop.replies"])
    requests = [request(ce_replyto="shop.replies", ce_id=each) for each in (long, "short")]

    with working(url, broker.url, responder(Replies())):
        broker.send("pricing.price", requests)
        replies = read(heard, 2)

    found = [dict(reply.headers) for reply in replies]
    fitted = Metadata.fitting(correlation_id=long).correlation_id
    assert [each["ce_causationid"] for each in found] == [fitted, "short"]
    heard.close()


def test_a_declaration_is_checked() -> None:
    """A category by the catalog's rule; topics are patterns."""
    with pytest.raises(CatalogError, match="Quote"):
        Replies(categories=["Quote"])
    assert Replies(topics=["shop.*"]).allows_topic("shop.answers")
    assert not Replies(topics=[]).allows_topic("shop.replies")
