"""The breaking changes of a catalog's release: for readers of old events, and for old readers of new ones."""

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from eventkit import Catalog, Personal, StreamId
from eventkit.domain.catalog.catalog_export import Description, describe, description_of
from eventkit.domain.catalog.compatibility import Breaks, breaks
from eventkit.errors import ConfigurationError
from tests.domain.codec.happenings import Colour, Customer, Line, Price

Fields = Iterable[tuple[str, Any] | tuple[str, Any, Any]]


def described(fields: Fields = (("a", int),), *, catalog: Catalog | None = None, **options: Any) -> Description:
    """Describe a catalog with one type of these fields, through JSON as a release does."""
    catalog = catalog or Catalog("shop")
    name = options.pop("name", "Happened")
    cls = make_dataclass(name, list(fields), frozen=True)
    catalog.event(name=name, **options)(cls)
    for version in range(options.get("oldest", 1), options.get("version", 1)):
        catalog.upcast_fields(cls, from_version=version)
    return description_of(describe(catalog).to_json(), where="the test")


@pytest.mark.parametrize(
    "kind",
    [
        int,
        str,
        Decimal,
        dt.date,
        bytes,
        Any,
        StreamId,
        Colour,
        Price,
        Line,
        Customer,
        Literal["a", "b"],
        Price | None,
        list[Price | int],
        tuple[int, str],
        dict[str, list[float]],
        Annotated[str, msgspec.Meta(max_length=5, pattern="a")],
    ],
)
def test_a_catalog_breaks_nothing_of_itself(kind: Any) -> None:
    """For fields of any type."""
    assert breaks(described([("f", kind)]), described([("f", kind)])) == Breaks([], [])


SAME = [
    ("a field with a default comes", [("a", int)], [("a", int), ("b", int, 5)]),
    ("a type is widened for old events alone", [("a", int)], [("a", int), ("b", str | None, None)]),
    ("a default comes", [("a", int)], [("a", int, 5)]),
]


@pytest.mark.parametrize(("old", "new"), [pytest.param(*case[1:], id=case[0]) for case in SAME])
def test_a_change_that_old_and_new_can_read_is_compatible(old: Fields, new: Fields) -> None:
    """Fields that a reader does not know are ignored, and those with a default may be missing."""
    assert breaks(described(old), described(new)) == Breaks([], [])


# fields before, fields after, breaks for old events, breaks for old readers
CHANGES: list[tuple[Fields, Fields, str, str]] = [
    ([("a", int)], [("a", int), ("b", int)], "field 'b' is required, but may be missing", ""),
    ([("a", int), ("b", int)], [("a", int)], "", "field 'b' is required, but may be missing"),
    ([("a", int, 5)], [("a", int)], "field 'a' is required, but may be missing", ""),
    ([("a", int)], [("a", str)], "'a' may hold an integer, where a string is", "'a' may hold a string, where an int"),
    ([("a", int)], [("a", float)], "", "'a' may hold a number, where an integer is taken"),
    ([("a", int)], [("a", int | None)], "", "'a' may hold null, where an integer is taken"),
    ([("a", Decimal)], [("a", str)], "", "'a' must have format 'decimal', but is written with None"),
    ([("a", dt.date)], [("a", dt.datetime)], "'a' must have pattern '", "'a' must have format 'date'"),
    ([("a", list[dt.datetime | None])], [("a", list[str | None])], "", r"'a\[0\]' must have pattern '"),
    ([("a", dict[str, tuple[dt.time]])], [("a", dict[str, tuple[str]])], "", "must have pattern '"),
    ([("a", Literal["x", "y"])], [("a", Literal["x"])], "'a' may hold 'y', beside 'x'", ""),
    ([("a", str)], [("a", Colour)], "'a' may hold more than 'blue', 'red'", ""),
    ([("a", list[int])], [("a", list[str])], r"'a\[0\]' may hold an integer", r"'a\[0\]' may hold a string"),
    ([("a", Any)], [("a", int)], "'a' may hold anything, where an integer is taken", ""),
    ([("a", dict[str, int])], [("a", dict[str, float])], "", r"'a\[…\]' may hold a number"),
    (
        [("a", Price)],
        [("a", make_dataclass("Price", [("amount", Decimal), ("tax", int)], frozen=True))],
        "'a.tax' is required, but may be missing",
        "",
    ),
    (
        [("a", str)],
        [("a", Annotated[str, msgspec.Meta(max_length=5)])],
        "'a' must have maxLength 5, but is written with None",
        "",
    ),
    (
        [("a", Annotated[int, msgspec.Meta(ge=5)])],
        [("a", Annotated[int, msgspec.Meta(ge=1)])],
        "",
        "'a' must have minimum 5, but is written with 1",
    ),
    ([("a", tuple[int, str])], [("a", tuple[int, int])], r"'a\[1\]' may hold a string", r"'a\[1\]' may hold an int"),
]


@pytest.mark.parametrize(("old", "new", "events", "readers"), CHANGES)
def test_a_change_within_a_version_names_the_readers_it_breaks(
    old: Fields, new: Fields, events: str, readers: str
) -> None:
    """Each finding is a sentence with the type, its version, the field and the remedy."""
    found = breaks(described(old), described(new))

    assert_says(found.old_events, events and f"^Happened stays at version 1, but .*{events}.*: raise its version to 2")
    assert_says(found.old_readers, readers and f"^Happened stays at version 1, but .*{readers}")


def assert_says(sentences: list[str], pattern: str) -> None:
    """Assert that there is one sentence, and that it fits; or none where none is expected."""
    assert len(sentences) == bool(pattern), sentences
    for sentence in sentences:
        assert re.search(pattern, sentence), sentence


TYPES: list[tuple[str, Callable[[], Description], Callable[[], Description], str, str]] = [
    (
        "a new version",
        described,
        lambda: described([("b", str)], version=2),
        "",
        "is written in version 2, old readers know up to 1: .*update them first",
    ),
    (
        "a version back",
        lambda: described(version=2),
        described,
        "went from version 2 back to 1, and events of 2 are parked",
        "",
    ),
    (
        "no more upcasters",
        lambda: described(version=3),
        lambda: described(version=3, oldest=3),
        "is read from version 3 on, and events of versions 1 to 2 are there: keep oldest=1",
        "",
    ),
    ("a type that is gone", described, lambda: described(name="Other"), "Happened is gone", ""),
    (
        "a new name",
        described,
        lambda: described(name="Befell", renamed_from="Happened"),
        "",
        "Happened is recorded as Befell, which old readers do not know",
    ),
    (
        "a former name that is gone",
        lambda: described(renamed_from="Befell"),
        described,
        "no longer known as Befell",
        "",
    ),
    (
        "another topic",
        described,
        lambda: described(catalog=Catalog("shop", topics={"order": "orders"})),
        "",
        "'order' went to topic 'shop.order' and go to 'orders'",
    ),
    (
        "another catalog",
        described,
        lambda: described(catalog=Catalog("store")),
        "the catalog was 'shop' and is 'store'",
        "the catalog was 'shop' and is 'store'",
    ),
    ("a new type", described, lambda: described(catalog=with_another()), "", ""),
]


def with_another() -> Catalog:
    """Return a catalog that has one type more, and consumes one."""
    catalog = Catalog("shop")
    catalog.event(Price)
    catalog.consumes("billing", "Line", Line)
    return catalog


@pytest.mark.parametrize(("old", "new", "events", "readers"), [pytest.param(*case[1:], id=case[0]) for case in TYPES])
def test_a_change_of_types_names_the_readers_it_breaks(
    old: Callable[[], Description], new: Callable[[], Description], events: str, readers: str
) -> None:
    """Versions, names, topics: stored events and running consumers depend on them."""
    found = breaks(old(), new())

    assert_says(found.old_events, events)
    assert_says(found.old_readers, readers)


def test_a_struct_that_leaves_defaults_out_breaks_old_readers_that_need_them() -> None:
    """The fields that a writer may omit are part of the description."""

    class Old(msgspec.Struct, frozen=True):
        a: int

    class New(msgspec.Struct, frozen=True, omit_defaults=True):
        a: int = 1

    found = breaks(of_class(Old), of_class(New))

    assert "field 'a' is required, but may be missing" in found.old_readers[0]
    assert found.old_events == []


def test_a_model_that_forbids_unknown_fields_breaks_when_they_come() -> None:
    """Old readers of a strict model do not ignore a new field."""

    class Old(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        a: int

    class New(pydantic.BaseModel):
        a: int
        b: int = 1

    assert_says(breaks(of_class(Old), of_class(New)).old_readers, "'b' is unknown, and unknown fields are forbidden")


def of_class(cls: type) -> Description:
    """Describe a catalog of one class."""
    catalog = Catalog("shop")
    catalog.event(name="Happened")(cls)
    return describe(catalog)


OWN = Annotated[str, Personal()]
THEIRS = Annotated[str, Personal(subject="who", kind="customer")]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (OWN, str, r"^Happened has personal data in 'name' \(of <stream>\), and is to write it in plain text"),
        (THEIRS, str, r"in 'name' \(of customer-<who>\), and is to write it in plain text"),
        (OWN, THEIRS, "personal data of <stream> in 'name', and is to take it for that of customer-<who>"),
        (OWN, OWN, ""),
        (str, OWN, ""),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_field_that_is_no_longer_sealed_is_reported(before: Any, after: Any, said: str, version: int) -> None:
    """In the same version and in a new one; a field that is gone, or becomes personal, is not reported."""
    old = described([("who", str), ("name", before), ("gone", OWN)])

    found = breaks(old, described([("who", str), ("name", after)], version=version))

    assert_says(found.people, said)


def test_a_type_that_holds_itself_is_compared_without_end() -> None:
    """A reference that was followed is not followed again."""
    assert breaks(of_class(Node), of_class(Node)) == Breaks([], [])
    assert_says(breaks(of_class(Node), of_class(OtherNode)).old_readers, r"'children\[0\]' may hold null")


class OtherNode(msgspec.Struct, frozen=True):
    """Another that does."""

    children: "list[OtherNode | None]"


class Node(msgspec.Struct, frozen=True):
    """A type that holds itself."""

    children: "list[Node]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no description by"),
        ("[]", "is no description by"),
        (b"\xff", "is no description by"),
        ('{"format":2,"catalog":"shop","topics":{},"types":[]}', "has the format 2, this eventkit reads 1"),
    ],
)
def test_an_invalid_description_is_refused(text: str | bytes, words: str) -> None:
    """The sentence names the file."""
    with pytest.raises(ConfigurationError, match=f"old.json {words}"):
        description_of(text, where="old.json")
