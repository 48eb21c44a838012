"""Request-reply, in one process on PostgreSQL: typed both ways, worked once, and with an answer for each failure."""

import asyncio
import logging
import random
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from msgspec.structs import replace

from eventkit.domain.envelope import Envelope
from eventkit.domain.message import Message
from eventkit.domain.metadata import Metadata
from eventkit.errors import Refused, RequestFailed, RequestTimeout, TopicUnusable, TransportUnavailable
from eventkit.messaging import replies as responders_replies
from eventkit.messaging import requester as requesters
from eventkit.messaging import responder as responders
from eventkit.messaging.requester import Requester
from eventkit.storage.projections.inbox import find_replies, keep_replies
from eventkit.transports.base import MAX_BYTES
from eventkit.transports.local import LocalTransport
from tests.messaging.pricing import (
    GetPrice,
    OrderTea,
    Price,
    PriceChanged,
    UnknownArticle,
    desk,
    pricing,
    store,
    working,
)
from tests.messaging.shop import delivered, rows
from tests.projection.shop import projector
from tests.transports.traffic import deliver
from tests.waiting import wait_until

TEA = pricing.stream("price", "tea")
CAUSE = Envelope(
    event=OrderTea(1),
    id=uuid.uuid4(),
    source="pricing",
    stream=pricing.stream("order", 1),
    version=1,
    type="OrderTea",
    schema_version=1,
    metadata=Metadata(correlation_id="story-7"),
    recorded_at=datetime.now(UTC),
    position=None,
)


@pytest.fixture
def requester(transport: LocalTransport) -> Iterator[Requester]:
    """Somebody who asks."""
    with Requester(transport, pricing, replies="shop.replies") as requester:
        yield requester


@pytest.fixture
def responder(url: str, name: str, transport: LocalTransport) -> Iterator[None]:
    """The price desk, running."""
    del transport  # it has made the topics
    with working(url, f"local://{name}"):
        yield


def asked(url: str) -> list[tuple[str, str, int]]:
    """Return the requests that the desk has worked."""
    return rows(url, "select article, of, count from asked order by 1, 2, 3")


@pytest.mark.usefixtures("responder")
def test_a_request_returns_its_reply_as_a_typed_event(url: str, requester: Requester) -> None:
    """Typed; the work is done, once, in the stream that was asked."""
    reply = requester.request(TEA, GetPrice("tea", 3), Price, timeout=60)

    assert reply == Price("tea", 300)
    assert asked(url) == [("tea", "price-tea", 3)]


@pytest.mark.usefixtures("responder")
async def test_any_number_of_tasks_ask_over_one_requester(requester: Requester) -> None:
    """Each gets its own reply."""
    replies = await asyncio.gather(
        *(requester.request_async(TEA, GetPrice("tea", count), Price, timeout=60) for count in range(1, 80))
    )

    assert [reply.cents for reply in replies] == [100 * count for count in range(1, 80)]


@pytest.mark.parametrize("most", [MAX_BYTES, 30])
def test_a_refusal_is_an_error_of_the_responders_own_and_takes_its_work_back(
    url: str, name: str, transport: LocalTransport, requester: Requester, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed, as an event of its catalog; rows of the other requests stay, also where replies are written in parts."""
    for module in (responders, responders_replies):
        monkeypatch.setattr(module, "MAX_BYTES", most)
    articles = ["dust", "tea", "salt", "dust", "milk"]
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        try:
            found[number] = requester.request(TEA, GetPrice(articles[number]), Price, timeout=60)
        except Refused as refusal:
            found[number] = refusal.error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(articles))]
    for thread in threads:
        thread.start()
    wait_until(lambda: sum(map(len, transport._broker.topics["pricing.price"])) == len(articles), what="all requests")
    with working(url, f"local://{name}"):
        for thread in threads:
            thread.join(60)

    wanted = [UnknownArticle(each) if each == "dust" else Price(each, 100) for each in articles]
    assert [found[number] for number in range(len(articles))] == wanted
    assert [article for article, _, _ in asked(url)] == ["milk", "salt", "tea"]


@pytest.mark.usefixtures("responder")
def test_a_refusal_that_nothing_else_is_worked_with_takes_its_work_back_too(url: str, requester: Requester) -> None:
    """Asked again with the same id it is refused again, and the next request is worked."""
    dust = uuid.uuid4()
    for _ in range(2):
        with pytest.raises(Refused, match="dust"):
            requester.request(TEA, GetPrice("dust"), Price, timeout=60, request_id=dust)

    assert requester.request(TEA, GetPrice("tea"), Price, timeout=60) == Price("tea", 100)
    assert asked(url) == [("tea", "price-tea", 1)]


@pytest.mark.usefixtures("responder")
def test_a_request_that_fails_at_its_responder_is_an_error(url: str, requester: Requester) -> None:
    """At once, not after the time-out; it is parked, and the next one is answered."""
    with pytest.raises(RequestFailed, match="GetPrice to 'price-tea': its responder desk has failed at it"):
        requester.request(TEA, GetPrice("tea", 100), Price, timeout=60)

    assert requester.request(TEA, GetPrice("tea"), Price, timeout=60) == Price("tea", 100)
    assert rows(url, "select cause from eventkit.dead_letters") == [("failed",)]


def test_stored_replies_are_read_few_at_a_time(url: str) -> None:
    """Some 8 MB of them; a request without a reply ends nothing, and one without a row is left out."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into eventkit.inbox (handler, message) values ('desk', '3')")
        for number in (*range(3), *range(4, 24)):
            reply = f'"{random.Random(number).randbytes(450_000).hex()}"'
            keep_replies(connection, "eventkit", "desk", {str(number): reply})

        pages = list(find_replies(connection, "eventkit", "desk", [str(number) for number in range(30)]))

    found = {name: reply for page in pages for name, reply in page.items()}
    assert sorted(map(int, found)) == list(range(24))
    assert [name for name, reply in found.items() if reply.reply is None] == ["3"]
    assert max(sum(len(each.reply or "") for each in page.values()) for page in pages) < 9_000_000
    assert sum(map(len, pages)) == len(found)


def test_keeping_a_reply_reads_none_of_those_that_were_kept_before(url: str) -> None:
    """Under any plan that PostgreSQL has made while the inbox was empty."""
    with psycopg.connect(url) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute(
            "insert into eventkit.inbox (handler, message) select 'desk', n from generate_series(1, 3000) n"
        )
        for number in range(1, 11):
            keep_replies(connection, "eventkit", "desk", {str(number): '{"cents": 1}'})
        read = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'inbox'"

        assert connection.execute(read).fetchall()[0][0] < 100

    assert rows(url, "select count(*), count(reply) from eventkit.inbox") == [(3000, 10)]


@pytest.mark.usefixtures("responder")
def test_a_request_that_no_responder_handles_is_an_error(requester: Requester) -> None:
    """The responder has no function for its type."""
    with pytest.raises(RequestFailed, match="no responder of desk takes it"):
        requester.request(TEA, PriceChanged("tea"), Price, timeout=60)


@pytest.mark.usefixtures("responder")
def test_a_reply_of_another_type_is_an_error(requester: Requester) -> None:
    """It is never returned as the requested type."""
    with pytest.raises(RequestFailed, match="GetPrice was answered with Price, not with OrderTea"):
        requester.request(TEA, GetPrice("tea"), OrderTea, timeout=60)


def test_a_request_that_is_asked_again_with_its_id_is_not_worked_again(
    url: str, name: str, requester: Requester, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the reply that was kept; the late one to the first asking is dropped, and counted."""
    caplog.set_level(logging.DEBUG, "eventkit.messaging")
    with pytest.raises(RequestTimeout, match=r"no reply to GetPrice .* on 'pricing.price' in 0.05 s") as caught:
        requester.request(TEA, GetPrice("tea", 5), Price, timeout=0.05)

    with working(url, f"local://{name}"):
        wait_until(lambda: "came too late" in caplog.text, timeout=60, what="the late reply")
        again = requester.request(TEA, GetPrice("tea", 5), Price, timeout=60, request_id=caught.value.request_id)

    assert again == Price("tea", 500)
    assert asked(url) == [("tea", "price-tea", 5)]
    assert "came too late, the 1. that did" in caplog.text


async def test_a_task_that_waits_too_long_gets_a_timeout(requester: Requester) -> None:
    """Also a TimeoutError."""
    with pytest.raises(TimeoutError, match="is its responder running"):
        await requester.request_async(TEA, GetPrice("tea"), Price, timeout=0.05)


@pytest.mark.usefixtures("responder")
def test_a_reply_belongs_to_the_story_of_its_request(transport: LocalTransport, requester: Requester) -> None:
    """Its cause is the request; the story is the request's, or begins with it."""
    replies = transport.listen(["shop.replies"])
    one, other = uuid.uuid4(), uuid.uuid4()

    requester.request(TEA, GetPrice("tea"), Price, timeout=60, request_id=one)
    bound = requester.following(CAUSE)
    bound.request(TEA, GetPrice("tea"), Price, timeout=60, request_id=other)

    headers = [dict(message.headers) for _ in range(2) for message in replies.receive(1, 5)]
    stories = [(each["ce_causationid"], each["ce_correlationid"]) for each in headers]
    assert stories == [(str(one), str(one)), (str(other), "story-7")]


def test_a_request_through_the_outbox_is_answered_once_by_an_event_that_follows_it(url: str) -> None:
    """In the stream that the request names, be it a refusal; delivered again, it is not worked again."""
    with psycopg.connect(url) as connection:
        requests = [GetPrice("tea", 2), GetPrice("dust"), GetPrice("milk")]
        store.append(connection, TEA, *requests, metadata={"reply_to": "quote-7"})
        store.append(connection, pricing.stream("price", "salt"), GetPrice("salt"))

    with projector(url, desk) as running:
        for _ in range(2):
            running.apply(delivered(url, TEA, "price-salt"))

    assert [article for article, _, _ in asked(url)] == ["milk", "salt", "tea"]
    replies = """select r.type, r.data->>'article', q.data->>'article' from eventkit.events r
                   join eventkit.events q on q.id::text = r.metadata->>'causation_id'
                  where r.stream = 'quote-7' order by r.version"""
    assert rows(url, replies) == [
        ("Price", "tea", "tea"),
        ("UnknownArticle", "dust", "dust"),
        ("Price", "milk", "milk"),
    ]


def test_an_impossible_request_is_refused_at_once(transport: LocalTransport, requester: Requester) -> None:
    """A topic that is missing, of requests or of replies; a broker that is away."""
    with pytest.raises(TopicUnusable, match=r"pricing\.nowhere"):
        requester.request(pricing.stream("nowhere", 1), GetPrice("tea"), Price, timeout=60)
    with pytest.raises(TopicUnusable, match=r"shop\.none"), Requester(transport, pricing, replies="shop.none") as other:
        other.request(TEA, GetPrice("tea"), Price, timeout=60)

    transport.lose("gone for good")
    with pytest.raises(TransportUnavailable, match="gone for good; whether it was taken is not known"):
        requester.request(TEA, GetPrice("tea"), Price, timeout=60)


def test_replies_that_nobody_takes_hold_back_the_others(
    transport: LocalTransport, requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event loop that is blocked takes none: so many bytes wait in memory, the others at the broker."""
    monkeypatch.setattr(requesters, "_MAX_HELD", 1_000)
    transport.subscribe(["pricing.price"], "desk").close()
    requester.start()
    ids = [str(number) for number in range(10)]
    replies = [
        requester.pending.send(each, Message("pricing.price", "price-tea", b"{}", [("ce_id", each)])) for each in ids
    ]
    send(transport, "shop.replies", [Message("shop.replies", "k", b"x" * 600, [("ce_causationid", i)]) for i in ids])
    wait_until(lambda: sum(each.done() for each in replies) == 2, what="as many replies as fit")

    assert requester.pending.room.held == 1_200
    for number, (each, reply) in enumerate(zip(ids, replies, strict=True)):
        assert len(reply.result(60).value) == 600
        assert sum(each.done() for each in replies) <= number + 2
        requester.pending.end(each)
    assert requester.pending.room.held == 0


def test_a_requester_that_is_closed_waits_for_nobody(
    transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread ends, though replies wait that nobody takes; a request that has timed out frees the way, too."""
    monkeypatch.setattr(requesters, "_MAX_HELD", 100)
    requester = Requester(transport, pricing, replies="shop.replies")
    requester.start()
    listener = requester.pending._listener
    assert listener is not None
    transport.subscribe(["pricing.price"], "desk").close()
    one, two, three = (
        requester.pending.send(each, Message("pricing.price", "price-tea", b"{}", [("ce_id", each)])) for each in "123"
    )
    send(transport, "shop.replies", [Message("shop.replies", "k", b"x" * 600, [("ce_causationid", i)]) for i in "123"])
    wait_until(one.done, what="the first reply")

    requester.pending.end("2")  # it has timed out
    requester.close()

    wait_until(lambda: not listener._thread.is_alive(), what="the end of the thread")
    assert not two.done()
    assert three is not None


def send(transport: LocalTransport, topic: str, messages: list[Message]) -> None:
    """Send messages to a topic."""
    publisher = transport.publisher()
    deliver(publisher, [replace(message, topic=topic) for message in messages])
    publisher.close(1)
