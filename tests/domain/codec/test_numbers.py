"""Numbers on their way through JSON and jsonb: floats stay floats, and other values than numbers are refused."""

import datetime as dt
import enum
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from eventkit import Catalog, InvalidEvent, Metadata, UndecodableEvent
from eventkit.domain.catalog.catalog_export import describe
from eventkit.domain.codec.codec import Codec
from eventkit.domain.codec.jsonb import keep_floats, stored_size
from tests.domain.codec.happenings import Price, an_event


class Measured(pydantic.BaseModel):
    """A model with numbers of each kind."""

    metres: float = 0.0
    price: Decimal = Decimal(0)
    either: int | float = 0
    anything: Any = None


LARGE = [1e16, -1e25, 1.7976931348623157e308, [{"a": 1e300, "note": '1e5, "1e16,"\\'}, 10**16]]


@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("make", [lambda value: an_event(Any, value), lambda value: Measured(anything=value)])
def test_a_large_float_in_an_untyped_field_stays_a_float(make: Any, value: Any) -> None:
    """The JSON has it without an exponent and with a fraction, as jsonb gives it back; strings are left alone."""
    event = make(value)
    codec = Codec(type(event))

    text = codec.encode(event)

    assert repr(codec.decode(text)) == repr(event)
    assert keep_floats(text) == text


class Whole(enum.IntEnum):
    """A number of an enum."""

    ONE = 1
    MANY = 10**16


@pytest.mark.parametrize("value", [1e16, -1e25, 1.5, 1.0, 1, Whole.MANY])
@pytest.mark.parametrize("other", [int, Whole, Literal[1, 10**16], Literal[1] | None], ids=str)
@pytest.mark.parametrize("place", ["field", "list", "dict"])
def test_a_large_float_beside_any_whole_number_can_be_decoded(value: Any, other: Any, place: str) -> None:
    """An enum and a literal are whole numbers too: from jsonb, `1e16` would be one that they do not have."""
    kind: Any = other | float
    kind, held = {"field": (kind, value), "list": (list[kind], [value]), "dict": (dict[str, kind], {"a": value})}[place]
    event = an_event(kind, held)
    codec = Codec(type(event))
    try:
        text = codec.encode(event)
    except InvalidEvent:  # a whole number that the other type does not have
        assert type(value) is not float
        return

    assert codec.decode(as_jsonb(text)) == event


def as_jsonb(text: bytes) -> bytes:
    """Return JSON of one level as jsonb has it: numbers without exponents."""
    return re.sub(rb"-?[\d.]+e[+-]?\d+", lambda number: format(Decimal(number[0].decode()), "f").encode(), text)


@pytest.mark.parametrize("value", LARGE)
def test_a_large_float_in_metadata_stays_a_float(value: Any) -> None:
    """Metadata is kept as events are."""
    assert repr(Metadata.from_json(Metadata.of({"x": value}).to_json()).extra) == repr({"x": value})


@pytest.mark.parametrize(
    "text", ['{"a":"1e5"}', '{"a":"\\\\","b":"1e5,\\"2e5"}', '{"1e5":true,"b":false}', '{"a":1e-7}']
)
def test_nothing_but_large_numbers_is_rewritten(text: str) -> None:
    """Digits, an e and digits in a string are text; a small number has a fraction anyway."""
    assert keep_floats(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ('{"a":[1,2],"b,:":{}}', '{"a": [1, 2], "b,:": {}}'),
        ('{"a":1e3,"b":1.5e-7}', '{"a": 1000, "b": 0.00000015}'),
        ('{"a":"1e30","b":5e-324}', '{"a": "1e30", "b": 0.' + "0" * 323 + "5}"),
    ],
)
def test_the_stored_size_is_that_of_jsonbs_text(text: str, stored: str) -> None:
    """With a space after each comma and colon, without exponents."""
    assert stored_size(text.encode()) == len(stored)


def test_an_int_in_a_float_field_is_accepted_and_read_as_a_float() -> None:
    """It is equal; an int that a float cannot hold is refused."""
    event = an_event(list[float], [1, 2.5, 10**16])

    assert Codec(type(event)).decode(Codec(type(event)).encode(event)) == event
    with pytest.raises(InvalidEvent, match="9007199254740993"):
        Codec(type(event)).encode(type(event)([2**53 + 1]))


@pytest.mark.parametrize(
    "number",
    [
        *("NaN", "Infinity", "-Infinity", '"nan"', '"-inf"', '"Infinity"', "1e400", '"1e+400"', "1" + "0" * 400),
        *('" nan "', r'"n\u0061n"', '"1_0e4_00"'),
    ],
)
@pytest.mark.parametrize("name", ["metres", "either", "anything"])
def test_a_number_that_json_does_not_have_is_refused_from_the_wire(name: str, number: str) -> None:
    """Append refuses it as well; Pydantic alone would take it, as JSON or as text."""
    if name != "metres" and (number.startswith('"') or number.isdigit()):
        return  # it is text or an integer there
    with pytest.raises(UndecodableEvent):
        Codec(Measured).decode(f'{{"{name}":{number}}}')
    with pytest.raises(UndecodableEvent):
        Codec(type(an_event(Measured, None))).decode(f'{{"field":{{"{name}":{number}}}}}'.encode())


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-inf", "Infinity", r"N\u0061N"])
def test_a_decimal_that_is_no_number_is_refused_from_the_wire(number: str) -> None:
    """The decoder alone would read it."""
    with pytest.raises(UndecodableEvent, match="JSON has no such number"):
        Codec(Price).decode(f'{{"amount":"{number}"}}')


def test_text_that_looks_like_no_number_is_read() -> None:
    """Names with these letters are checked and pass; so do large numbers."""
    assert Codec(Measured).decode('{"metres":1e308,"anything":"Nancy info 1e999"}').anything == "Nancy info 1e999"


def test_infinity_is_refused_where_a_model_writes_it_by_name() -> None:
    """PostgreSQL would refuse the JSON."""

    class Named(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")
        metres: float = 0

    for value in (math.inf, math.nan):
        with pytest.raises(InvalidEvent, match="JSON has no such number"):
            Codec(Named).encode(Named(metres=value))


def test_nan_is_refused_where_a_record_inside_of_a_model_does_not_compare_it() -> None:
    """It would become null."""

    @dataclass(frozen=True)
    class Inner:
        metres: float | None = field(compare=False, default=None)

    class Outer(pydantic.BaseModel):
        inner: list[Inner]

    with pytest.raises(InvalidEvent, match="JSON has no such number"):
        Codec(Outer).encode(Outer(inner=[Inner(math.nan)]))


def test_times_are_described_as_they_are_written() -> None:
    """A field that takes times without a zone does not promise RFC 3339's date-time; one that wants a zone does."""
    catalog = Catalog("times")

    @catalog.event
    @dataclass(frozen=True)
    class Planned:
        at: dt.datetime
        zoned: Annotated[dt.datetime, msgspec.Meta(tz=True)]

    @catalog.event
    class Modelled(pydantic.BaseModel):
        at: dt.datetime
        zoned: pydantic.AwareDatetime

    for kind in describe(catalog).types:
        schema = kind.data.get("$defs", {}).get("Planned", kind.data)
        assert "format" not in schema["properties"]["at"]
        assert schema["properties"]["at"]["pattern"].endswith("?$")
        assert schema["properties"]["zoned"]["format"] == "date-time"
