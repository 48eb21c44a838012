"""The catalog knows its topics: a type with a category is appended to streams of that category alone."""

from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from eventkit import Append, Catalog, CatalogError, Deadlines, EventStore, InvalidEvent, Sender
from eventkit.domain.catalog import breaks, describe
from eventkit.transports.local import LocalTransport

shop = Catalog("shop", topics={"refund": "shop.order", "draft": None})
store = EventStore(shop)


@shop.event(category="order", renamed_from="Placed")
@dataclass(frozen=True)
class OrderPlaced:
    """Of one category."""

    customer: str


@shop.event(category="refund")
@dataclass(frozen=True)
class Refunded:
    """Of another one, in the same topic."""

    cents: int


@shop.event(category="draft")
@dataclass(frozen=True)
class Drafted:
    """Of a category that goes to no broker."""


@shop.event
@dataclass(frozen=True)
class Noted:
    """Of any category."""


invoice = make_dataclass("InvoicePaid", [("cents", int)], frozen=True)
shop.consumes("billing", "InvoicePaid", invoice, category="invoice")
shop.consumes("weather", "Rained", make_dataclass("Rained", [], frozen=True))

REFUSED = (
    "OrderPlaced belongs to streams of category 'order', as its catalog 'shop' says, and not to 'refund-7', whose "
    "readers do not expect it: append it to a stream order-..., or register it without category="
)


def sending(connection: Any) -> Sender:  # noqa: ARG001 of another way
    """Return a sender on a broker of its own."""
    return Sender(LocalTransport(uuid4().hex), shop)


WAYS: dict[str, Callable[[Any], Any]] = {
    "append": lambda c: store.append(c, "refund-7", OrderPlaced("ada")),
    "append among others": lambda c: store.append(c, "refund-7", Refunded(5), OrderPlaced("ada")),
    "append_many": lambda c: store.append_many(c, [Append("refund-7", [OrderPlaced("ada")])]),
    "deadline": lambda c: Deadlines(store).set(c, "refund-7", OrderPlaced("ada"), timedelta(1)),
    "command": lambda c: sending(c).send("refund-7", OrderPlaced("ada")),
    "broadcast": lambda c: sending(c).broadcast("refund-7", OrderPlaced("ada")),
}


def test_an_event_is_refused_in_a_stream_of_another_category(database_url: str) -> None:
    """By each way that an event takes to a topic; the sentence names type, category and stream."""
    with psycopg.connect(database_url) as connection:
        for way, take in WAYS.items():
            with pytest.raises(InvalidEvent) as refused:
                take(connection)
            assert str(refused.value) == REFUSED, way

        assert connection.execute("select count(*) from eventkit.events").fetchone() == (0,)


def test_an_event_goes_to_its_category_and_one_without_a_category_anywhere(database_url: str) -> None:
    """As before."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, "order-1", OrderPlaced("ada"), Noted())
        store.append(connection, "refund-7", Noted(), Refunded(5))
        stored = connection.execute("select stream, type from eventkit.events order by position").fetchall()

    assert stored == [("order-1", "OrderPlaced"), ("order-1", "Noted"), ("refund-7", "Noted"), ("refund-7", "Refunded")]


def test_an_event_that_was_stored_in_another_category_is_read(database_url: str) -> None:
    """The category is a rule for new events; old ones stay as they are, under old names too."""
    before = Catalog("shop")
    before.event(make_dataclass("Placed", [("customer", str)], frozen=True))
    placed = next(kind.cls for kind in before.types)

    with psycopg.connect(database_url) as connection:
        EventStore(before).append(connection, "sale-1", placed("ada"))
        found = [envelope.event for envelope in store.read_stream(connection, "sale-1")]

    assert found == [OrderPlaced("ada")]


def test_the_catalog_says_the_messages_of_each_topic() -> None:
    """Categories may share a topic; other services' types are in theirs."""
    names = {topic: [kind.name for kind in kinds] for topic, kinds in shop.messages.items()}

    assert names == {"billing.invoice": ["InvoicePaid"], "shop.order": ["OrderPlaced", "Refunded"]}


@pytest.mark.parametrize("category", ["", "order-line", 5])
def test_a_wrong_category_is_an_error_at_the_class(category: Any) -> None:
    """A stream splits at its first hyphen."""
    with pytest.raises(CatalogError, match="category"):
        Catalog("shop").event(category=category)(Refunded)


def test_a_topic_that_no_broker_takes_is_an_error_at_the_class() -> None:
    """The source of another service may be any URI."""
    with pytest.raises(CatalogError, match=r"topic 'https://x\.org/.invoice' breaks the rule"):
        Catalog("shop").consumes("https://x.org/", "InvoicePaid", invoice, category="invoice")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [("order", "sale", ["order", "sale"]), (None, "sale", []), ("order", None, []), ("order", "order", [])],
)
def test_a_type_that_moves_to_another_category_breaks_old_readers(
    before: str | None, after: str | None, said: list[str]
) -> None:
    """They read the old category's topic."""
    old, new = (Catalog("shop") for _ in range(2))
    for catalog, category in ((old, before), (new, after)):
        catalog.event(category=category)(Refunded)

    found = breaks(describe(old), describe(new))

    assert found.old_events == []
    assert [bool(found.old_readers), *(f"{one!r}" in "".join(found.old_readers) for one in said)] == [
        bool(said),
        *[True] * len(said),
    ]
