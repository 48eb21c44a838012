"""For any type and any value: an accepted event comes back equal."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eventkit import InvalidEvent, StreamId
from eventkit.domain.codec.codec import Codec
from tests.domain.codec.happenings import Colour, Customer, Line, Price, an_event

Kind = tuple[Any, st.SearchStrategy[Any]]  # a type and its values
LEAVES: list[Kind] = [
    (int, st.integers()), (float, st.floats()), (bool, st.booleans()), (str, st.text()), (bytes, st.binary()),
    (Decimal, st.decimals()), (UUID, st.uuids()), (dt.date, st.dates()), (dt.time, st.times()),
    (dt.datetime, st.datetimes(timezones=st.none() | st.timezones())), (dt.timedelta, st.timedeltas()),
    (Colour, st.sampled_from(Colour)), (Price, st.builds(Price, st.decimals())),
    (Line, st.builds(Line, st.uuids(), st.builds(Price, st.decimals()))),
    (Customer, st.builds(Customer, name=st.text(), memberSince=st.dates(), score=st.none() | st.floats())),
    (int | float, st.integers() | st.floats()), (StreamId, st.builds(StreamId, st.just("order"), st.integers())),
    (Any, st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)),
]  # fmt: skip


def containers(inner: Kind) -> st.SearchStrategy[Kind]:
    """Wrap a type and its values."""
    kind: Any
    kind, values = inner
    return st.sampled_from([
        (kind, values), (kind | None, st.none() | values), (list[kind], st.lists(values, max_size=3)),
        (tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
        (dict[str, kind], st.dictionaries(st.text(), values, max_size=3)),
        (dict[int, kind], st.dictionaries(st.integers(), values, max_size=3)),
    ])  # fmt: skip


types_with_values = st.sampled_from(LEAVES).flatmap(containers).flatmap(containers)
anything = st.one_of([values for _, values in LEAVES])


def as_postgres_gives_it(text: bytes) -> bytes:
    """Reverse keys and write numbers without exponents, as jsonb does."""
    value = json.loads(text, parse_float=_number, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    return msgspec.json.encode(value)


def _number(literal: str) -> int | float:
    exact = Decimal(literal)
    return int(exact) if "e" in literal and exact == exact.to_integral_value() else float(literal)


def is_same(value: Any, back: Any) -> bool:
    """Compare; a datetime counts as its instant, for `==` is false in the repeated hour between zones."""
    if isinstance(value, dt.datetime) and value.tzinfo and back.tzinfo:
        return bool(value.astimezone(dt.UTC) == back.astimezone(dt.UTC))
    if isinstance(value, list | tuple):
        return type(value) is type(back) and len(value) == len(back) and all(map(is_same, value, back))
    if isinstance(value, dict):
        return value.keys() == back.keys() and all(is_same(value[key], back[key]) for key in value)
    return bool(value == back)


@given(st.data())
def test_an_accepted_event_comes_back_equal(data: st.DataObject) -> None:
    """For any type and any value: an equal event from the text and from jsonb's form of it, or InvalidEvent."""
    kind, values = data.draw(types_with_values)
    event = an_event(kind, data.draw(values | anything))

    try:
        text = Codec(type(event)).encode(event)
    except InvalidEvent:
        return

    assert is_same(event.field, Codec(type(event)).decode(text).field)
    assert is_same(event.field, Codec(type(event)).decode(as_postgres_gives_it(text).decode()).field)
    assert b"\x00" not in text
    assert "\x00" not in str(msgspec.json.decode(text))


@given(st.data())
def test_good_values_are_accepted(data: st.DataObject) -> None:
    """A value of the declared type is refused only where JSON, jsonb or an RFC 3339 offset cannot hold it."""
    kind, values = data.draw(types_with_values)
    event = an_event(kind, data.draw(values))

    refused = ""
    try:
        Codec(type(event)).encode(event)
    except InvalidEvent as error:
        refused = str(error)

    reasons = ("no such number", "NUL", "surrogate", "(datetime), which would")
    assert not refused or any(reason in refused for reason in reasons)
