"""Messages with the headers that every event has: their values are kept, and the list of headers is made on demand."""

from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventkit.domain.catalog import Catalog
from eventkit.domain.header_values import are_times, time_of
from eventkit.domain.message import Message, PlainMessage, event_of, plain_message, schema_version_of
from eventkit.errors import UndecodableEvent
from eventkit.projection.batch import gather
from eventkit.projection.dispatch import HandlerTable
from tests.domain.test_header_values import NAMES, some_headers

GOOD = {
    "ce_specversion": b"1.0",
    "ce_id": b"0b1f8f0e-6f5c-5f0e-8c1d-1f2e3d4c5b6a",
    "ce_source": b"shop",
    "ce_type": b"ItemOrdered",
    "ce_time": b"2026-01-01T00:00:00.000001Z",
    "ce_streamversion": b"1",
    "content-type": b"application/json",
}
catalog = Catalog("shop")


@catalog.event
class ItemOrdered(msgspec.Struct, frozen=True):
    """An event without fields."""


def made(headers: list[tuple[str, Any]], *, key: str = "order-1") -> Message:
    """Return a message as Kafka's subscription makes it."""
    plain = plain_message("shop.order", key, b"{}", headers, 7)
    return plain or Message("shop.order", key, b"{}", headers, 7)


def headers(**changes: object) -> list[tuple[str, Any]]:
    """Return an event's headers with other values, `_` for `-`."""
    return [(name, changes.get(name.replace("-", "_"), value)) for name, value in GOOD.items()]


def verdict(message: Message) -> object:
    """Return the encoded event and the schema version, or the reason of a refusal."""
    try:
        return event_of(message), schema_version_of(message)
    except UndecodableEvent as refused:
        return str(refused)


def received(given_headers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return headers as Kafka's client does: bytes, or None."""
    return [(n, v.encode(errors="surrogatepass") if isinstance(v, str) else v) for n, v in given_headers]


@given(some_headers().map(received))
@example(headers())
@example(headers(ce_id=b"\xff"))
@example(headers(ce_time=b"now"))
@example(headers(ce_streamversion=b"12345"))
@example(headers(ce_streamversion=b"0012345"))
def test_a_plain_message_says_the_same_as_one_with_the_list(given_headers: list[tuple[str, Any]]) -> None:
    """Its headers, its event or the reason of a refusal, its version and its id."""
    message, other = made(given_headers), Message("shop.order", "order-1", b"{}", given_headers, 7)

    assert message.headers == given_headers
    assert verdict(message) == verdict(other)
    mine, others = gather([message]), gather([other])
    assert [reason for _, reason in mine.malformed] == [reason for _, reason in others.malformed]
    assert [[(a.version, a.id, a.kind, a.uuid) for a in run.arrivals] for run in mine.runs] == [
        [(a.version, a.id, a.kind, a.uuid) for a in run.arrivals] for run in others.runs
    ]
    assert [run.span() for run in mine.runs] == [run.span() for run in others.runs]


@pytest.mark.parametrize("version", [b"1", b"9999", b"10000", b"2147483646"])
def test_an_event_of_eventkit_is_plain(version: bytes) -> None:
    """With small and with large versions."""
    assert type(made(headers(ce_streamversion=version))) is PlainMessage


@pytest.mark.parametrize(
    "other",
    [
        [*headers(), ("ce_correlationid", b"1")],
        headers()[:-1],
        list(reversed(headers())),
        [(name.replace("ce_id", "ce_key"), value) for name, value in headers()],
        *[headers(**{name.replace("-", "_"): value}) for name in NAMES for value in (None, b"")],
        *[headers(ce_streamversion=version) for version in (b"0", b"01", b"0012345", b"+1", b"x", b"1" * 11)],
        headers(ce_specversion=b"0.3"),
        headers(content_type=b"application/cloudevents+json"),
    ],
)
def test_other_headers_make_no_plain_message(other: list[tuple[str, Any]]) -> None:
    """One is missing or more, elsewhere, of another name, empty, or could not be written back as received."""
    assert type(made(other)) is Message


TIMES = [
    b"2026-01-31T12:00:00.123456Z", b"2024-02-29T23:59:59.000000Z", b"0001-01-01T00:00:00.000000Z",
    b"2026-01-31T12:00:00Z", b"2026-01-31T12:00:00.123456+00:00", b"2026-01-31T12:00:00.5+00:00",
    b"2026-01-31T12:00:00+00:00",
]  # fmt: skip


def test_times_of_eventkit_are_found_valid_together() -> None:
    """They are as PostgreSQL writes them, without zeros at the end, or with `Z`; none at all is valid, too."""
    assert are_times(TIMES * 3)
    assert are_times([])
    assert all(time_of(text.decode()) for text in TIMES)


@pytest.mark.parametrize(
    "text",
    [
        b"2026-02-29T12:00:00.000000Z", b"2026-13-01T12:00:00.000000Z", b"2026-01-31T24:00:00.000000Z",
        b"2026-01-31T24:30:00.000000Z", b"2026-01-31T12:60:00.000000Z", b"2026-01-31T12:00:60.000000Z",
        b"2026-01-31T12:00:00.000000", b"2026-01-31T12:00:00.1234567Z", b"2026-01-31T12:00:00.000000+01:00", b"",
        b"now", b"2026-01-31T12:00:00.+00:00", b"2026-01-31T12:00:00,5Z", b"2026-01-31T12:00:00.5", b"-" * 25,
        b"2026-01-31 12:00:00.000000Z", b"\xff" * 27, b"0000-01-01T00:00:00.000000Z", TIMES[0] * 2,
    ],
)  # fmt: skip
def test_one_other_time_among_them_is_noticed(text: bytes) -> None:
    """It may be valid in another form: `time_of` decides that."""
    assert not are_times([*TIMES, text, *TIMES])
    assert not are_times([text])


@given(st.from_regex(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,7})?(Z|[+-]\d\d:\d\d)?", fullmatch=True))
def test_no_wrong_time_is_found_valid_with_others(text: bytes) -> None:
    """A text that is valid among others is a time in UTC by itself, the same as `datetime` reads."""
    if are_times([*TIMES, text]):
        assert time_of(text.decode()) == datetime.fromisoformat(text.decode())
        assert text.endswith((b"Z", b"+00:00"))


@pytest.mark.parametrize(
    ("name", "value"), [("ce_time", b"now"), ("ce_time", b"2026-01-31T24:30:00.000000Z"), ("ce_id", b"\xff")]
)
def test_one_wrong_event_of_a_batch_is_found_by_its_own_look(name: str, value: bytes) -> None:
    """The others are decoded as before, one by one."""
    table = HandlerTable("orders", catalog)
    table.add(ItemOrdered, lambda _: None, takes_envelope=False)
    good, bad = made(headers()), made(headers(**{name: value}), key="order-2")
    (first,), (second,) = (run.arrivals for run in gather([good, bad]).runs)
    table.decode(first)

    assert table.decode_plain([first])[0] is not None
    assert table.decode_plain([first, second]) == [None, None]
    assert table.decode(first) is not None
    with pytest.raises(UndecodableEvent):
        table.decode(second)
