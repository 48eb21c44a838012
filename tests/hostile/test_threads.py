"""No message ends the thread of a listener, a requester or a responder, nor is one without a word."""

import threading
import uuid
from typing import Any

import psycopg
import pytest

from eventkit.domain.message import Message
from eventkit.errors import RequestTimeout, TopicUnusable
from eventkit.messaging.listener import Listener
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.messaging.requester import Requester
from eventkit.messaging.sender import Sender
from eventkit.transports.local import LocalTransport
from tests.hostile.conftest import Broker
from tests.hostile.foreign import BROKERS, Foreign, sender
from tests.hostile.kinds import EVERYWHERE, OWN
from tests.messaging.pricing import CREATE, GetPrice, Price, PriceChanged, pricing, working
from tests.waiting import wait_until

TEA = pricing.stream("price", "tea")
TOPICS = ["pricing.price", "shop.replies"]


def odd(broker: Broker) -> list[Foreign]:
    """Return every kind of message, and one of each that says it replies to a request."""
    kinds = [each for kind in {**EVERYWHERE, **OWN[broker.name]}.values() for each in kind]
    return kinds + [each._replace(headers=[*each.headers, ("ce_replyto", "a topic")]) for each in kinds if not each.own]


def answered(requester: Requester, article: str) -> bool:
    """Ask; return whether there is a reply."""
    try:
        return bool(requester.request(TEA, GetPrice(article), Price, timeout=2))
    except (RequestTimeout, TopicUnusable):
        return False


@pytest.fixture
def there(broker: Broker) -> Broker:
    """A broker with the topics, of one shard each."""
    broker.transport.create_topics(TOPICS, partitions=1)
    broker.transport.subscribe(["pricing.price"], "desk").close()
    return broker


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_a_listener_and_a_requester_continue_after_any_message(there: Broker, url: str) -> None:
    """Each keeps receiving, on its thread; and a responder keeps reading."""
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    heard: list[str] = []
    listener = Listener(there.transport, pricing, categories=["price"])
    listener.on(PriceChanged)(lambda event: heard.append(event.article))
    with listener, working(url, there.url), Requester(there.transport, pricing, replies="shop.replies") as requester:
        wait_until(lambda: answered(requester, "tea"), timeout=60, what="the responder to have joined")
        for topic in TOPICS:
            there.send(topic, odd(there))
        reply = requester.request(TEA, GetPrice("tea", 2), Price, timeout=60)
        with Sender(there.transport, pricing) as sending:
            sending.broadcast(TEA, PriceChanged("tea"))
        wait_until(lambda: "tea" in heard, timeout=60, what="the listener to hear")

    assert reply == Price("tea", 200)
    assert listener.malformed > 0


def test_a_thread_that_fails_unexpectedly_says_so_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    """For any error raised on it: nobody else would notice."""
    transport = LocalTransport(uuid.uuid4().hex)
    transport.create_topics(TOPICS, partitions=1)
    heard, back = threading.Event(), threading.Event()

    def hear(_: list[Message]) -> None:
        if not heard.is_set():
            heard.set()
            raise LookupError("a payload")

    listening = ListenerThread(transport, TOPICS, hear, back.set)
    with Sender(transport, pricing) as sending:
        sending.broadcast(TEA, PriceChanged("tea"))

    assert back.wait(60)
    assert "starts again: LookupError at test_threads.py" in caplog.text
    assert "a payload" not in caplog.text
    listening.close()


@pytest.mark.parametrize("headers", [[("ce_causationid", b"\xff")], [("ce_causationid", ...), ("ce_outcome", "x")], []])
def test_a_forged_reply_answers_no_other_request(headers: list[tuple[str, Any]]) -> None:
    """A reply that names no request, or cannot be read, is passed over; the request times out."""
    transport = LocalTransport(uuid.uuid4().hex)
    transport.create_topics(TOPICS, partitions=1)
    with Requester(transport, pricing, replies="shop.replies") as requester:
        requester.start()
        sender(f"local://{transport._name}")("shop.replies", [Foreign("k", b"{}", headers)])
        with pytest.raises(RequestTimeout):
            requester.request(TEA, GetPrice("tea"), Price, timeout=0.5)

        malformed = sum(value is ... for _, value in headers)
        wait_until(lambda: requester.pending.malformed == malformed, what=f"{malformed} malformed replies")
