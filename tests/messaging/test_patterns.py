"""Commands sent directly and broadcasts, on PostgreSQL and one process: confirmed, in order, received by all."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.codec.personal import Personal
from eventkit.domain.envelope import Envelope
from eventkit.errors import InvalidEvent, ProjectionError, TopicUnusable, TransportError, TransportUnavailable
from eventkit.messaging.listener import Listener
from eventkit.messaging.sender import Sender
from eventkit.transports.local import LocalTransport
from tests.messaging.pricing import GetPrice, OrderTea, PriceChanged, orders, pricing, working
from tests.messaging.shop import rows
from tests.transports.traffic import read
from tests.waiting import wait_until

ORDER = pricing.stream("order", 1)
PRICE = pricing.stream("price", "tea")


@pytest.fixture
def sender(transport: LocalTransport) -> Iterator[Sender]:
    """Somebody who sends."""
    with Sender(transport, pricing) as sender:
        yield sender


def test_a_command_that_is_sent_directly_is_handled_once_in_the_order_of_its_stream(
    url: str, name: str, sender: Sender
) -> None:
    """By one of the group's workers; the same id again changes nothing."""
    ids = [uuid.uuid4() for _ in range(3)]

    with working(url, f"local://{name}", orders()), working(url, f"local://{name}", orders()):
        sender.send(ORDER, *[OrderTea(number) for number in range(3)], ids=ids)
        for number in range(3, 20):
            sender.send(ORDER, OrderTea(number))
        sender.send(ORDER, *[OrderTea(number) for number in range(3)], ids=ids)
        sender.send(pricing.stream("order", "last"), OrderTea(99))
        wait_until(lambda: len(_handled(url)) == 21, timeout=60, what="all orders")

    assert [number for of, number in _handled(url) if of == ORDER] == list(range(20))


async def test_any_number_of_tasks_send_over_one_sender(transport: LocalTransport, sender: Sender) -> None:
    """Each is confirmed when its call returns."""
    subscription = transport.subscribe(["pricing.order"], "orders")

    await asyncio.gather(*(sender.send_async(ORDER, OrderTea(number)) for number in range(100)))

    assert len(read(subscription, 100)) == 100


async def test_one_refused_message_takes_no_other_with_it(transport: LocalTransport, sender: Sender) -> None:
    """Its sender gets the reason; messages sent together with it arrive, each once."""
    transport.refuse(lambda message: "too large" if '"number":50' in str(message.value) else None)
    subscription = transport.subscribe(["pricing.order"], "orders")

    results = await asyncio.gather(
        *(sender.send_async(pricing.stream("order", number), OrderTea(number)) for number in range(100)),
        sender.send_async(pricing.stream("nowhere", 1), OrderTea(1)),
        return_exceptions=True,
    )

    assert [type(result) for result in results if result is not None] == [TransportError, TopicUnusable]
    assert "the broker refuses it: too large" in str(results[50])
    assert len(read(subscription, 99)) == 99
    assert subscription.receive(10, 0.05) == []


def test_an_outage_is_an_error_and_the_sender_continues_after_it(transport: LocalTransport, sender: Sender) -> None:
    """The fate of messages under way is unknown; the next call works."""
    transport.lose("pulled out")
    with pytest.raises(TransportUnavailable, match="pulled out; whether it was taken is not known"):
        sender.send(ORDER, OrderTea(1))

    transport.heal()
    sender.send(ORDER, OrderTea(2))

    assert len(read(transport.subscribe(["pricing.order"], "orders"), 1)) == 1


def test_personal_data_is_not_sent_directly(transport: LocalTransport) -> None:
    """Only the event store could seal it; nothing leaves."""
    people = Catalog("pricing")

    @people.event
    @dataclass(frozen=True)
    class Moved:
        address: Annotated[str, Personal(redacted="?")]

    subscription = transport.subscribe(["pricing.order"], "orders")
    with Sender(transport, people) as sender, pytest.raises(InvalidEvent, match="Moved has personal data"):
        sender.send(ORDER, Moved("1 Main Street"))

    assert subscription.receive(10, 0.05) == []


def test_every_instance_receives_broadcasts_and_relayed_events(transport: LocalTransport, sender: Sender) -> None:
    """In the order of its stream, with the envelope on request; of types without a function, nothing."""
    heard: list[list[tuple[str, str]]] = [[], []]

    with _instance(transport, heard[0]), _instance(transport, heard[1]):
        sender.broadcast(PRICE, *[PriceChanged(str(number)) for number in range(50)])
        sender.broadcast(PRICE, GetPrice("tea"), PriceChanged("last"))
        wait_until(lambda: all(len(seen) == 51 for seen in heard), what="both to have heard all")

    wanted = [(str(number), "price-tea") for number in range(50)]
    assert heard == [[*wanted, ("last", "price-tea")]] * 2


async def test_a_broadcast_to_nobody_is_no_error(transport: LocalTransport, sender: Sender) -> None:
    """Nobody had anything to forget; and nothing is kept for who comes later."""
    await sender.broadcast_async(PRICE, PriceChanged("before"))

    heard: list[tuple[str, str]] = []
    with _instance(transport, heard):
        await sender.broadcast_async(PRICE, PriceChanged("after"))
        wait_until(lambda: heard, what="the one that came after it")
    assert heard == [("after", "price-tea")]


def test_a_function_that_fails_is_logged_and_the_next_message_comes(
    transport: LocalTransport, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither it nor an unreadable message stops a listener."""
    heard = threading.Event()
    listener = Listener(transport, pricing, categories=["price"])

    @listener.on(PriceChanged)
    def changed(event: PriceChanged) -> None:
        if event.article == "bad":
            raise LookupError("no such article")
        heard.set()

    with listener:
        sender.broadcast(PRICE, PriceChanged("bad"))
        with Sender(transport, _other_prices()) as other:
            other.broadcast(PRICE, _Newer("tea"))
        sender.broadcast(PRICE, PriceChanged("good"))
        wait_until(heard.is_set, what="the good one")

    assert "a listener's function for PriceChanged fails" in caplog.text
    assert (
        "a listener skips PriceChanged: NewerSchema: 'PriceChanged' of 'pricing' was written with schema" in caplog.text
    )


def test_a_listener_is_notified_of_a_possible_loss_after_an_outage(
    transport: LocalTransport, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens again by itself, then drops its cache."""
    missed, heard = threading.Event(), threading.Event()
    listener = Listener(transport, pricing, categories=["price"])
    listener.on(PriceChanged)(lambda _: heard.set())
    listener.on_missed(missed.set)
    with listener:
        with monkeypatch.context() as broken:
            broken.setattr("eventkit.transports.local.subscription.LocalListener.receive", _gone)
            wait_until(missed.is_set, what="the listener to be back")

        def hears() -> bool:
            sender.broadcast(PRICE, PriceChanged("tea"))
            return heard.is_set()

        wait_until(hears, what="a broadcast")


def test_a_listener_to_nothing_is_refused(transport: LocalTransport) -> None:
    """It would never receive anything."""
    with pytest.raises(ProjectionError, match="name them"):
        Listener(transport, pricing, categories=[])


def _instance(transport: LocalTransport, heard: list[tuple[str, str]]) -> Listener:
    listener = Listener(transport, pricing, categories=["price"])

    @listener.on(PriceChanged)
    def changed(event: PriceChanged, envelope: Envelope[PriceChanged]) -> None:
        heard.append((event.article, envelope.stream))

    return listener


@dataclass(frozen=True)
class _Newer:
    article: str


def _other_prices() -> Catalog:
    """Return the catalog of a later release."""
    later = Catalog("pricing")
    later.event(name="PriceChanged", version=2, oldest=2)(_Newer)
    return later


def _gone(*_: object) -> list[object]:
    raise TransportUnavailable("gone")


def _handled(url: str) -> list[tuple[str, int]]:
    return rows(url, "select of, count from asked order by ctid")
