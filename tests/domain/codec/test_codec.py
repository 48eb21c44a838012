"""The allowed values of an event: everything else is refused with its field and value."""

import datetime as dt
import math
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from eventkit import Catalog, CatalogError, InvalidEvent, UndecodableEvent
from eventkit.domain.codec.codec import Codec
from tests.domain.codec.happenings import Colour, Customer, Line, Price, an_event

NEW_YORK = ZoneInfo("America/New_York")


def refusal(event: Any) -> str:
    """Return the sentence with which an event is refused."""
    with pytest.raises(InvalidEvent) as caught:
        Codec(type(event)).encode(event)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (float, math.nan, "'field' holds nan: JSON has no such number"),
        (float | None, math.inf, "'field' holds inf: JSON has no such number"),
        (Decimal, Decimal("NaN"), "Decimal('NaN'): JSON has no such number"),
        (Decimal, Decimal("sNaN"), "JSON has no such number"),
        (Decimal, Decimal("-Infinity"), "JSON has no such number"),
        (list[float], [1.0, math.nan], "'field[1]' holds nan"),
        (dict[float, int], {math.nan: 1}, "'field[key nan]' holds nan"),
        (str, "a\x00b", r"holds 'a\x00b': PostgreSQL cannot keep a NUL"),
        (dict[str, int], {"\x00": 1}, "PostgreSQL cannot keep a NUL"),
        (str, "a\ud800", "a lone surrogate at 1"),
        (str, 5, "Expected `str`, got `int` - at `$.field`, which holds 5"),
        (int, "5", "Expected `int`, got `str` - at `$.field`, which holds '5'"),
        (int, True, "holds True"),
        (bool, 1, "which holds 1"),
        (Decimal, 5, "holds 5 (int), which would be read back as Decimal('5')"),
        (Decimal, 1.5, "holds 1.5 (float)"),
        (float, 2**53 + 1, "holds 9007199254740993 (int)"),
        (Colour, "red", "holds 'red' (str), which would be read back as <Colour.RED"),
        (tuple[int, ...], [1], "holds [1] (list), which would be read back as (1,) (tuple)"),
        (set[Decimal], {1}, "holds 1 (int)"),
        (Any, (1,), "holds (1,) (tuple)"),
        (Any, {1: 2}, "holds {1: 2}"),
        (Any, Decimal("1.1"), "holds Decimal('1.1')"),
        (Any, object(), "JSON has no object: make it a plain"),
        (float, np.float64(1.5), "JSON has no numpy.float64: make it a plain Python value with .tolist()"),
        (int, np.int64(1), "JSON has no numpy.int64"),
        (bool, np.bool_(1), "JSON has no numpy.bool"),
        (list[int], np.array([1]), "JSON has no numpy.ndarray"),
        (dt.datetime, pd.Timestamp("2020-01-01"), "JSON has no pandas.Timestamp: make it a plain Python value"),
        (dt.datetime | None, pd.NaT, "holds NaT"),
        (int | None, pd.NA, "holds <NA>"),
        (dt.datetime, dt.date(2020, 1, 1), "holds datetime.date(2020, 1, 1)"),
        (dt.date, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "holds datetime.datetime(2020"),
        (dt.datetime, dt.datetime(1850, 1, 1, tzinfo=NEW_YORK), "holds datetime.datetime(1850"),
        (Price, Price(Decimal(1), "GBP"), "Invalid enum value 'GBP' - at `$.field.currency`, which holds 'GBP'"),  # type: ignore[arg-type]
        (list[Price], [Price(1)], "'field[0].amount' holds 1 (int)"),  # type: ignore[arg-type]
        (Customer, Customer(name="a", score=math.nan), "'field.score' holds nan"),
        (Customer, Customer.model_construct(name=5), "holds"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_field(kind: Any, value: Any, words: str) -> None:
    """The sentence has the field's path and the value, and nothing of the event gets out."""
    assert words in refusal(an_event(kind, value))


def test_an_integer_too_long_for_python_to_write_is_refused() -> None:
    """Its digits are not even shown."""
    assert "4300 digits" in refusal(an_event(int, 10**5000))


def test_a_value_that_holds_itself_is_refused() -> None:
    """Recursion ends in one of eventkit's errors."""
    endless: list[Any] = []
    endless.append(endless)

    assert "holds itself" in refusal(an_event(Any, endless))


def test_a_field_that_is_not_compared_is_checked_all_the_same() -> None:
    """NaN does not become null where `==` does not look."""

    @dataclass(frozen=True)
    class Measured:
        metres: float | None = field(compare=False, default=None)

    assert "'metres' holds nan" in refusal(Measured(math.nan))
    assert Codec(Measured).encode(Measured(1.5)) == b'{"metres":1.5}'


def test_a_subclass_in_a_field_is_refused() -> None:
    """Its own fields would be lost."""

    @dataclass(frozen=True)
    class Discounted(Price):
        percent: int = 0

    assert "Discounted" in refusal(an_event(Price, Discounted(Decimal(1))))


@pytest.mark.parametrize("fold", [0, 1])
def test_the_repeated_hour_is_accepted(fold: int) -> None:
    """A local time at the end of summer time is written with its offset: the instant is kept."""
    at = dt.datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold)
    event = an_event(dt.datetime, at)

    back = Codec(type(event)).decode(Codec(type(event)).encode(event))

    assert back.field.astimezone(dt.UTC) == at.astimezone(dt.UTC)


def test_pydantic_models_travel_by_alias_and_without_computed_fields() -> None:
    """Strict models that forbid extra fields come back equal."""
    event = Customer(name="Ann", memberSince=dt.date(2024, 2, 29))

    text = Codec(Customer).encode(event)

    assert text == b'{"name":"Ann","memberSince":"2024-02-29","score":null}'
    assert Codec(Customer).decode(text) == event


@pytest.mark.parametrize(
    "kind", [complex, object, pd.DataFrame, np.int64, msgspec.Raw, dt.date | str, Customer | Price, Price | Line]
)
def test_a_field_that_json_cannot_hold_is_refused_at_registration(kind: Any) -> None:
    """Long before the first event."""
    with pytest.raises(CatalogError, match="Happened"):
        Codec(make_dataclass("Happened", [("field", kind)], frozen=True))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"amount":true}', b'{"amount":"x"}', b"{}", b"\xff", '{"amount":"\ud800"}']
)
def test_undecodable_data_is_an_eventkit_error(data: bytes | str) -> None:
    """The sentence names the class and shows the data."""
    with pytest.raises(UndecodableEvent, match="Price cannot be made from"):
        Codec(Price).decode(data)


def test_unknown_fields_are_ignored_and_missing_ones_take_their_defaults() -> None:
    """Producers may add fields; older events lack newer ones."""
    assert Codec(Price).decode(b'{"later":[1],"amount":"1.10"}') == Price(Decimal("1.10"))


@pytest.mark.parametrize(
    "cls",
    [
        dataclass(frozen=True)(type("Closed", (), {})),
        type("Closed", (msgspec.Struct,), {}),
        type("Closed", (BaseModel,), {"__module__": __name__}),
    ],
    ids=["dataclass", "Struct", "Pydantic"],
)
def test_an_event_may_have_no_fields(cls: type) -> None:
    """That it happened is all there is to say."""
    shop = Catalog("shop")
    shop.event(cls)

    assert shop.encode(cls()).data == "{}"
    assert isinstance(shop.decode_data("shop", "Closed", 1, "{}"), cls)
