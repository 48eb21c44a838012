"""Old events through the chain of their type's upcasters: results, checks in advance, and refusals."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from eventkit import Catalog, CatalogError, UndecodableEvent


@dataclass(frozen=True)
class OrderPlaced:
    """In its fourth version: `client` became `customer`, a currency came, the total was in cents."""

    customer: str
    total: Decimal
    currency: str


@dataclass(frozen=True)
class OrderPaid:
    """In its first version."""

    total: Decimal = Decimal(0)


def evolved() -> Catalog:
    """Return a catalog whose type has come through three steps of each kind."""
    catalog = Catalog("shop")
    catalog.event(version=4, renamed_from="Placed")(OrderPlaced)
    catalog.upcast_fields(OrderPlaced, from_version=1, renamed={"client": "customer"}, dropped=["fax"])
    catalog.upcast_fields(OrderPlaced, from_version=2, defaults={"currency": "EUR"})

    @catalog.upcast(OrderPlaced, from_version=3)
    def in_euros(data: dict[str, Any]) -> dict[str, Any]:
        data["total"] = str(Decimal(data.pop("cents")) / 100)
        return data

    return catalog


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, '{"client":"ada","cents":1250,"fax":"1"}'),
        (2, '{"customer":"ada","cents":1250}'),
        (3, '{"customer":"ada","cents":1250,"currency":"EUR"}'),
        (4, '{"customer":"ada","total":"12.5","currency":"EUR"}'),
    ],
)
def test_an_event_of_any_version_is_read_as_the_newest(version: int, data: str) -> None:
    """Each step raises it by one version; it starts where the event was written."""
    shop = evolved()

    assert shop.decode_data("shop", "OrderPlaced", version, data) == OrderPlaced("ada", Decimal("12.5"), "EUR")
    assert shop.decoder("shop", "OrderPlaced", version)(data.encode()) == OrderPlaced("ada", Decimal("12.5"), "EUR")


def test_a_value_in_the_event_comes_before_a_default() -> None:
    """A default is for events that lack the field."""
    data = '{"customer":"ada","cents":100,"currency":"USD"}'

    assert evolved().decode_data("shop", "OrderPlaced", 2, data).currency == "USD"


def test_a_type_is_found_by_its_former_name() -> None:
    """Renaming a type leaves the events that are stored under the old name readable; new ones get the new name."""
    shop = evolved()

    assert shop.decode_data("shop", "Placed", 2, '{"customer":"ada","cents":100}').customer == "ada"
    assert shop.encode(OrderPlaced("ada", Decimal(1), "EUR")).type == "OrderPlaced"
    assert [kind.name for kind in shop.types] == ["OrderPlaced"]


def test_an_event_in_its_current_version_is_decoded_by_its_class_alone() -> None:
    """The decoder is the codec's own: upcasters cost it nothing."""
    shop = evolved()
    shop.event(OrderPaid)

    for cls, version in ((OrderPlaced, 4), (OrderPaid, 1)):
        assert shop.decoder("shop", cls.__name__, version) == shop._codec(cls).decode


@pytest.mark.parametrize(
    "use", [Catalog.check, lambda shop: shop.encode(OrderPaid()), lambda shop: shop.check_chains()]
)
def test_a_missing_step_is_an_error_before_anything_is_read_or_written(use: Callable[[Catalog], object]) -> None:
    """It names the type, the version and the step, whichever type is used."""
    shop = Catalog("shop")
    shop.event(OrderPaid)
    shop.event(version=3)(OrderPlaced)
    shop.upcast_fields(OrderPlaced, from_version=1)

    with pytest.raises(
        CatalogError, match="'OrderPlaced' of 'shop' is at version 3 and has no upcaster from version 2"
    ):
        use(shop)


def test_a_type_that_is_registered_after_the_first_use_is_checked_too() -> None:
    """Each registration makes the next use look again."""
    shop = Catalog("shop")
    shop.event(OrderPaid)
    shop.encode(OrderPaid())
    shop.event(version=2)(OrderPlaced)

    with pytest.raises(CatalogError, match="no upcaster from version 1"):
        shop.encode(OrderPaid())


def test_versions_before_the_oldest_need_no_steps_and_are_refused() -> None:
    """Where the first events were written in version 3 there is nothing to upcast."""
    shop = Catalog("shop")
    shop.event(version=3, oldest=3)(OrderPlaced)
    shop.check()

    with pytest.raises(UndecodableEvent, match="schema version 2, this code reads it from 3 on"):
        shop.decode_data("shop", "OrderPlaced", 2, "{}")


@pytest.mark.parametrize(
    ("upcaster", "words"),
    [
        (lambda data: {**data, "total": data["cents"]}, "from version 1 fails with KeyError: 'cents'"),
        (lambda _: None, "from version 1 returned None: it must return a dict"),
        (lambda data: {**data, "total": "much"}, "OrderPlaced cannot be made from"),
    ],
)
def test_an_upcaster_that_fails_makes_its_event_undecodable(upcaster: Any, words: str) -> None:
    """The sentence has the type, the step and the reason: the event is parked with it."""
    shop = Catalog("shop")
    shop.event(version=2)(OrderPlaced)
    shop.upcast(OrderPlaced, from_version=1)(upcaster)

    with pytest.raises(UndecodableEvent, match=words):
        shop.decode_data("shop", "OrderPlaced", 1, '{"customer":"ada","currency":"EUR"}')


@pytest.mark.parametrize("data", ["[]", "{", b'{"a":"\xff"}', "7"])
def test_old_data_that_is_no_object_is_undecodable(data: bytes | str) -> None:
    """Nothing but an object reaches an upcaster."""
    with pytest.raises(UndecodableEvent, match="'OrderPlaced' of 'shop' cannot be made from"):
        evolved().decode_data("shop", "OrderPlaced", 1, data)


def _step(shop: Catalog, version: Any, upcaster: Any = lambda data: data) -> None:
    shop.upcast(OrderPlaced, from_version=version)(upcaster)


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (lambda shop: _step(shop, version=1), "has an upcaster from version 1 already"),
        (lambda shop: _step(shop, version=4), "cannot be upcast from version 4: its older versions are 1 to 3"),
        (lambda shop: _step(shop, version=0), "cannot be upcast from version 0"),
        (lambda shop: _step(shop, version=True), "cannot be upcast from version True"),
        (lambda shop: shop.upcast_fields(OrderPaid, from_version=1), "an upcaster needs its type"),
        (lambda shop: shop.event(renamed_from="OrderPlaced")(OrderPaid), "already registered as 'OrderPlaced'"),
        (lambda shop: shop.event(name="Placed")(OrderPaid), "already registered as 'OrderPlaced'"),
        (lambda shop: shop.event(renamed_from=["a b"])(OrderPaid), "event type 'a b' breaks the rule"),
        (lambda shop: shop.event(version=2, oldest=3)(OrderPaid), "schema version 3: it is a number from 1 to 2"),
        (lambda shop: shop.event(oldest=0)(OrderPaid), "schema version 0"),
    ],
)
def test_a_wrong_step_or_name_is_refused_at_registration(register: Callable[[Catalog], object], words: str) -> None:
    """With the given values and the known ones."""
    with pytest.raises(CatalogError, match=words):
        register(evolved())


def test_an_upcaster_that_is_no_function_is_refused() -> None:
    """As the other mistakes of registration are."""
    shop = Catalog("shop")
    shop.event(version=2)(OrderPlaced)

    with pytest.raises(CatalogError, match="from version 1 is 5, not a function"):
        _step(shop, 1, 5)


def test_each_event_has_defaults_of_its_own() -> None:
    """A later step that changes a default's list changes one event's alone, and the caller's list is the caller's."""
    given: dict[str, Any] = {"tags": [], "deep": {"x": []}}
    shop = Catalog("shop")

    @shop.event(version=3)
    @dataclass(frozen=True)
    class Noted:
        tags: list[str]
        deep: dict[str, list[str]]

    shop.upcast_fields(Noted, from_version=1, defaults=given)

    @shop.upcast(Noted, from_version=2)
    def tagged(data: dict[str, Any]) -> dict[str, Any]:
        data["tags"].append("x")
        data["deep"]["x"].append("y")
        return data

    given["tags"].append("the caller's")
    assert [shop.decode_data("shop", "Noted", 1, "{}") for _ in range(3)] == [Noted(["x"], {"x": ["y"]})] * 3


@pytest.mark.parametrize("data", ['{"customer":"a","client":"b"}', '{"client":"b","customer":"a"}'])
def test_data_with_the_old_and_the_new_name_is_refused(data: str) -> None:
    """The order of keys is jsonb's and says nothing: which value is meant is not known."""
    with pytest.raises(UndecodableEvent, match="has 'client', which is renamed to 'customer'"):
        evolved().decode_data("shop", "OrderPlaced", 1, data)


def test_two_fields_may_change_their_names_with_each_other() -> None:
    """No name is there twice."""
    shop = Catalog("shop")

    @shop.event(version=2)
    @dataclass(frozen=True)
    class Moved:
        x: int
        y: int

    shop.upcast_fields(Moved, from_version=1, renamed={"x": "y", "y": "x"})

    assert shop.decode_data("shop", "Moved", 1, '{"x":1,"y":2}') == Moved(x=2, y=1)
