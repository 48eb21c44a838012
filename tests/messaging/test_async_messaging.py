"""Handlers, responders, process managers and listeners as `async def`: the same promises as plain ones."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventkit import Handlers, ProcessManager, Refused, Responder
from eventkit.domain.envelope import Envelope
from eventkit.errors import ProjectionError, TransportUnavailable
from eventkit.messaging import listener as listener_module
from eventkit.messaging.listener import Listener
from eventkit.messaging.reaction import Reaction
from eventkit.messaging.replies import Replies
from eventkit.messaging.requester import Requester
from eventkit.messaging.sender import Sender
from eventkit.projection.retry_policy import Retry
from eventkit.testing import given
from eventkit.transports.local import LocalTransport
from tests.messaging.fulfilment import FULFILMENTS, Fulfilment
from tests.messaging.pricing import GetPrice, Price, PriceChanged, UnknownArticle, pricing, working
from tests.messaging.pricing import store as pricing_store
from tests.messaging.shop import (
    CardCharged,
    ChargeCard,
    OrderPaid,
    OrderPlaced,
    committed,
    delivered,
    history,
    order,
    rows,
    shop,
    store,
    unversioned,
)
from tests.projection.shop import projector
from tests.waiting import wait_until

CHARGE = shop.stream("charge_card", 1)
ASKED = text("insert into asked values (:a, 'desk', :c)")


def payments(name: str = "payments") -> Handlers:
    """Return handlers that note each charge and append their own event."""
    work = Handlers(name, shop, categories=["charge_card"], concurrency=3)

    @work.on(ChargeCard)
    async def charge(connection: AsyncConnection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
        values = {"o": command.order, "a": command.amount, "s": envelope.stream, "v": envelope.version}
        await connection.execute(text("insert into charges values (:o, :a, :s, :v)"), values)
        charged = CardCharged(command.order, command.amount)
        await store.following(envelope).append_async(connection, order(command.order), charged)

    return work


def test_a_command_takes_effect_once_with_its_appended_events(url: str) -> None:
    """With a version and without, however often it comes."""
    committed(url, lambda connection: store.append(connection, CHARGE, ChargeCard("1"), ChargeCard("1", 2)))
    commands = [*delivered(url, CHARGE), *(unversioned(ChargeCard("7", n), f"id {n}", source="shop") for n in range(9))]

    for _ in range(3):
        with projector(url, payments()) as running:
            running.apply(commands)
            running.apply(commands)

    assert rows(url, "select count(*) from charges") == [(11,)]
    assert {stream: len(types) for stream, types in history(url).items()} == {
        "charge_card-1": 2,
        "order-1": 2,
        "order-7": 9,
    }


def test_events_appended_by_a_handler_are_rolled_back_with_it(url: str) -> None:
    """Its table refuses the second command: neither row nor event of it is there."""
    committed(url, lambda connection: store.append(connection, CHARGE, ChargeCard("1"), ChargeCard("2", 100)))

    with projector(url, payments()) as running:
        running.apply(delivered(url, CHARGE))

    assert rows(url, "select order_id from charges") == [("1",)]
    assert "order-2" not in history(url)
    assert rows(url, "select stream, cause from eventkit.dead_letters") == [("charge_card-1", "failed")]


def desk() -> Responder:
    """Return a responder that notes each work; nobody knows the price of dust."""
    found = Responder("desk", pricing_store, categories=["price"], replies=Replies(categories=["quote"]), concurrency=2)

    @found.on(GetPrice)
    async def price(connection: AsyncConnection, request: GetPrice) -> Price:
        await connection.execute(ASKED, {"a": request.article, "c": request.count})
        if request.article == "dust":
            raise Refused(UnknownArticle(request.article))
        return Price(request.article, 100 * request.count)

    return found


async def test_requests_are_answered_once_and_a_refusal_takes_back_its_work(
    url: str, name: str, transport: LocalTransport
) -> None:
    """Many at the same time, each with its own reply."""
    with working(url, f"local://{name}", desk()), Requester(transport, pricing, replies="shop.replies") as requester:

        async def ask(number: int) -> object:
            article = "dust" if number % 5 == 0 else f"tea {number}"
            stream = pricing.stream("price", number)
            return await requester.request_async(stream, GetPrice(article, number), Price, timeout=60)

        replies = await asyncio.gather(*map(ask, range(1, 21)), return_exceptions=True)

    expected = [Price(f"tea {number}", 100 * number) if number % 5 else Refused for number in range(1, 21)]
    assert [type(reply) if isinstance(reply, Refused) else reply for reply in replies] == expected
    assert rows(url, "select count(*), count(distinct article) from asked") == [(16, 16)]


def manager() -> ProcessManager:
    """Return a process that charges an order once somebody has answered."""
    once = Retry(attempts=1)
    found = ProcessManager("fulfilment", store, table=FULFILMENTS, key="order", categories=["order"], retry=once)

    @found.on(OrderPlaced)
    async def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
        await asyncio.sleep(0)
        process.seen += 1
        process.placed = True
        reaction.append(shop.stream("charge_card", event.order), ChargeCard(event.order, event.total))

    @found.on(OrderPaid)
    async def paid(process: Fulfilment, event: OrderPaid) -> None:
        del event
        await asyncio.sleep(0)
        process.seen += 1
        process.paid = True

    return found


def test_a_process_is_changed_and_acts_once(url: str) -> None:
    """Its row, and the events of its handlers."""
    with psycopg.connect(url) as connection:
        for number in range(6):
            store.append(connection, order(number), OrderPlaced(str(number)), OrderPaid(str(number)))
    batch = delivered(url, *(order(number) for number in range(6)))

    with projector(url, manager()) as running:
        running.apply(batch)
        running.apply(batch)

    assert rows(url, "select distinct seen, placed, paid from fulfilments") == [(2, True, True)]
    assert len([stream for stream in history(url) if stream.startswith("charge_card")]) == 6


def test_scenarios_await_handlers_too(url: str) -> None:
    """Given, when, then: on the same event loop."""
    scenario = given(payments(), database=url).when(ChargeCard("1", 2))

    scenario.then_appended(CardCharged("1", 2))
    given(manager(), database=url).when(OrderPlaced("1")).then({"order": "1", "seen": 1}).then_appended(ChargeCard("1"))


@pytest.fixture
def sender(transport: LocalTransport) -> Iterator[Sender]:
    """Somebody who broadcasts."""
    with Sender(transport, pricing) as sender:
        yield sender


def _gone(*_: object) -> NoReturn:
    raise TransportUnavailable("the broker is gone")


def test_a_listener_awaits_its_functions(
    transport: LocalTransport, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several streams at a time, never more than its limit; each stream's events in order; missed ones are reported."""
    heard, running, most, missed = list[tuple[str, str]](), Counter[str](), list[int](), threading.Event()
    listener = Listener(transport, pricing, categories=["price"], concurrency=2)

    @listener.on(PriceChanged)
    async def changed(event: PriceChanged, envelope: Envelope[PriceChanged]) -> None:
        running["now"] += 1
        most.append(running["now"])
        await asyncio.sleep(0.001)
        heard.append((envelope.stream.key, event.article))
        running["now"] -= 1

    async def miss() -> None:
        await asyncio.sleep(0)
        missed.set()

    listener.on_missed(miss)
    with listener:
        for number in range(5):
            for stream in "abcd":
                sender.broadcast(pricing.stream("price", stream), PriceChanged(str(number)))
        wait_until(lambda: len(heard) == 20, timeout=60)
        with monkeypatch.context() as broken:
            broken.setattr("eventkit.transports.local.subscription.LocalListener.receive", _gone)
            wait_until(missed.is_set, timeout=60)

    for stream in "abcd":
        assert [article for key, article in heard if key == stream] == list("01234")
    assert max(most) <= 2


def test_a_listener_continues_after_functions_that_fail_or_hang(
    transport: LocalTransport, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are logged."""
    monkeypatch.setattr(listener_module, "_CALL_TIMEOUT", 0.2)
    heard = list[str]()
    listener = Listener(transport, pricing, categories=["price"])

    @listener.on(PriceChanged)
    async def changed(event: PriceChanged) -> None:
        if event.article == "fails":
            raise ValueError("no")
        if event.article == "hangs":
            await asyncio.sleep(600)
        heard.append(event.article)

    with listener:
        for article in ("fails", "hangs", "tea"):
            sender.broadcast(pricing.stream("price", "a"), PriceChanged(article))
        wait_until(lambda: heard, timeout=60)

    assert heard == ["tea"]
    assert "ValueError" in caplog.text
    assert "TimeoutError" in caplog.text


def test_a_listeners_concurrency_is_one_or_more(transport: LocalTransport) -> None:
    """Nothing would ever be called."""
    with pytest.raises(ProjectionError, match="concurrency=0"):
        Listener(transport, pricing, categories=["price"], concurrency=0)
