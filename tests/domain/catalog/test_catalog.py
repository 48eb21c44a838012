"""The event types of a service: registering, encoding, decoding, topics."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from eventkit import (
    Catalog,
    CatalogError,
    EncodedEvent,
    EventTooLarge,
    Metadata,
    NewerSchema,
    UndecodableEvent,
    UnknownEventType,
)


@dataclass(frozen=True)
class OrderPlaced:
    """A dataclass."""

    customer: str
    total: Decimal


class OrderPaid(msgspec.Struct, frozen=True):
    """A Struct."""

    total: Decimal


class OrderShipped(pydantic.BaseModel):
    """A Pydantic model."""

    at: datetime


@dataclass(frozen=True)
class Node:
    """A type that holds itself."""

    children: "list[Node]"


forest = Catalog("forest")


@forest.event
@dataclass(frozen=True)
class Tree:
    """A type that holds itself, registered before its name exists."""

    children: "list[Tree]"


@dataclass
class Thawed:
    """Not frozen."""

    x: int


@pytest.fixture
def shop() -> Catalog:
    """Return a catalog of three kinds of classes."""
    catalog = Catalog("shop", topics={"invoice": "billing.invoices"})
    catalog.event(OrderPlaced)
    catalog.event(name="order-paid", version=3, oldest=2)(OrderPaid)
    catalog.upcast_fields(OrderPaid, from_version=2)
    catalog.event(OrderShipped)
    return catalog


def an_encoded(**fields: Any) -> EncodedEvent:
    """Return an event as it is stored."""
    given = {"id": str(UUID(int=7)), "source": "shop", "stream": "order-1", "version": 2, "type": "OrderPlaced"}
    time = "2026-01-02T03:04:05.678901Z"
    return EncodedEvent(**{**given, "data": '{"total":"1.10","customer":"Ann"}', "time": time, "position": 9, **fields})


@pytest.mark.parametrize(
    ("event", "name", "version", "data"),
    [
        (OrderPlaced("Ann", Decimal("1.10")), "OrderPlaced", 1, '{"customer":"Ann","total":"1.10"}'),
        (OrderPaid(Decimal(5)), "order-paid", 3, '{"total":"5"}'),
        (OrderShipped(at=datetime(2026, 1, 2, tzinfo=UTC)), "OrderShipped", 1, '{"at":"2026-01-02T00:00:00Z"}'),
    ],
)
def test_each_kind_of_class_is_encoded_and_decoded(
    shop: Catalog, event: Any, name: str, version: int, data: str
) -> None:
    """Dataclasses, Structs and Pydantic models are events alike."""
    encoded = shop.encode(event)

    assert encoded == (name, version, data, ())
    assert shop.decode_data("shop", name, version, data) == event
    assert shop.decoder("shop", name, version)(data.encode()) == event


def test_an_envelope_has_everything_about_an_event(shop: Catalog) -> None:
    """Decoding a stored event gives typed values."""
    encoded = an_encoded(correlation_id="c", extra='{"user":"é"}')

    envelope = shop.decode(encoded)

    assert envelope.event == OrderPlaced("Ann", Decimal("1.10"))
    assert (envelope.id, envelope.version, envelope.position) == (UUID(int=7), 2, 9)
    assert (envelope.stream.category, envelope.stream.key) == ("order", "1")
    assert envelope.recorded_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert envelope.metadata == Metadata(correlation_id="c", extra={"user": "é"})


@pytest.mark.parametrize(
    "fields", [{"id": "x"}, {"stream": "Order"}, {"time": "now"}, {"extra": "[]"}, {"extra": "{"}, {"data": "{"}]
)
def test_an_unreadable_envelope_is_an_eventkit_error(shop: Catalog, fields: dict[str, Any]) -> None:
    """For any fault in it, the sentence has the value."""
    with pytest.raises(UndecodableEvent):
        shop.decode(an_encoded(**fields))


def test_an_unregistered_class_is_refused(shop: Catalog) -> None:
    """The sentence names the class, the catalog and the types that it knows."""
    with pytest.raises(UnknownEventType, match=r"Node.*'shop'.*'OrderPlaced' of 'shop'"):
        shop.encode(Node([]))
    with pytest.raises(UnknownEventType, match="int"):
        shop.type_of(int)


def test_an_unknown_type_on_the_topic_is_refused(shop: Catalog) -> None:
    """Other sources' types are others, even with the same name."""
    with pytest.raises(UnknownEventType, match="'OrderPlaced' of 'store' is not in the catalog 'shop'"):
        shop.decode(an_encoded(source="store"))

    assert shop.decode(an_encoded(source="shop")).type == "OrderPlaced"


def test_a_newer_schema_is_refused(shop: Catalog) -> None:
    """Older code does not guess; older data is read."""
    with pytest.raises(NewerSchema, match="schema version 2, this code knows up to 1"):
        shop.decode(an_encoded(schema_version=2))

    assert shop.decode_data("shop", "order-paid", 2, '{"total":"5"}') == OrderPaid(Decimal(5))


def test_an_event_above_the_limit_is_refused() -> None:
    """In bytes of UTF-8, not in characters, with the spaces that jsonb has."""
    catalog = Catalog("shop", max_bytes=100)
    catalog.event(OrderPlaced)

    with pytest.raises(EventTooLarge, match="has 152 bytes of JSON as PostgreSQL keeps and sends it, the limit is 100"):
        catalog.encode(OrderPlaced("é" * 61, Decimal(1)))


def test_consumed_events_are_read_but_not_written(shop: Catalog) -> None:
    """Only the service that owns an event records it."""
    shop.consumes("https://billing.example/v1", "com.example.node", Node, version=2, oldest=2)

    assert shop.decode_data(
        "https://billing.example/v1", "com.example.node", 2, '{"children":[{"children":[]}]}'
    ) == Node([Node([])])
    with pytest.raises(UnknownEventType, match="only consumes"):
        shop.encode(Node([]))


def test_a_type_that_holds_itself_can_be_registered_at_its_definition() -> None:
    """The decorator runs before the name exists."""
    assert forest.encode(Tree([Tree([])])).data == '{"children":[{"children":[]}]}'


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (lambda _: Catalog("Shop"), "catalog name 'Shop'"),
        (lambda _: Catalog("shop."), "catalog name 'shop.'"),
        (lambda _: Catalog(""), "catalog name ''"),
        (lambda _: Catalog(None), "catalog name None"),  # type: ignore[arg-type]
        (lambda _: Catalog("shop", topics={"Order": "t"}), "stream category 'Order'"),
        (lambda _: Catalog("shop", topics={"order": "a b"}), "topic 'a b'"),
        (lambda _: Catalog("shop", topics={"order": ".."}), "topic '..'"),
        (lambda shop: shop.event(OrderPlaced), "already registered as 'OrderPlaced'"),
        (lambda shop: shop.event(name="OrderPlaced")(Node), "already registered"),
        (lambda shop: shop.event(name="Order Placed")(Node), "event type 'Order Placed'"),
        (lambda shop: shop.event(name="")(Node), "event type ''"),
        (lambda shop: shop.event(name="a\x00b")(Node), r"a\\x00b"),
        (lambda shop: shop.event(version=0)(Node), "schema version 0"),
        (lambda shop: shop.event(version=True)(Node), "schema version True"),
        (lambda shop: shop.event(version=32_768)(Node), "schema version 32768"),
        (lambda shop: shop.event(Thawed), "not frozen"),
        (lambda shop: shop.event(int), "cannot be an event"),
        (lambda shop: shop.event(lambda: 1), "cannot be an event|breaks the rule"),
        (lambda shop: shop.consumes("shop", "X", Node), "an event of 'shop' itself"),
        (lambda shop: shop.consumes("a b", "X", Node), "source 'a b'"),
        (lambda shop: shop.topics_of(["Order"]), "'Order'"),
    ],
)
def test_bad_names_and_classes_are_refused(shop: Catalog, register: Callable[[Any], Any], words: str) -> None:
    """At registration, with the value."""
    with pytest.raises(CatalogError, match=words):
        register(shop)


def test_an_annotation_that_never_resolves_is_an_eventkit_error() -> None:
    """It says which name is missing."""
    catalog = Catalog("shop")

    @dataclass(frozen=True)
    class Lost:
        field: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    catalog.event(Lost)

    with pytest.raises(CatalogError, match="Nowhere"):
        catalog.encode(Lost(1))


def test_a_stream_goes_to_its_categorys_topic(shop: Catalog) -> None:
    """`<catalog>.<category>` unless the catalog says otherwise."""
    assert shop.topic(shop.stream("order", "4-2")) == "shop.order"
    assert shop.topic("invoice-1") == "billing.invoices"
    assert shop.topics_of(["order", "invoice", "order"]) == ["billing.invoices", "shop.order"]


def test_importing_eventkit_loads_no_client() -> None:
    """A service that only declares its events pays for nothing else."""
    code = "import eventkit, sys; print(*(m for m in sys.modules if '.' not in m))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"alembic", "click", "confluent_kafka", "psycopg", "pydantic", "rich", "sqlalchemy"} & set(loaded)
