"""The values of headers: one decoder for each, for any writer."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventkit.domain.header_values import number_of, time_of, uuid_of
from eventkit.domain.message import Message, event_of, schema_version_of
from eventkit.errors import UndecodableEvent


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456Z", datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789-02:00", datetime(2026, 1, 31, 14, 0, 0, 123456, tzinfo=UTC)),
        ("2026-06-30T23:59:60Z", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-06-30T23:59:60.5", datetime(2026, 7, 1, 0, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_rfc_3339(text: str, time: datetime) -> None:
    """In UTC, where no zone is named; a leap second is the second after it."""
    assert time_of(text) == time
    assert time_of(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "now", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-31", "12:00:00Z",
     "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00", "2026-01-01T00:00:61Z",
     "2026-01-31T12:00:00Z\n", "\ud800", "9" * 10_000, "\u0662\u0660\u0662\u0666-01-31T12:00:00",
     "20260131T120000Z", "2026-W05-6T12:00:00Z", "2026-W05-6T12:00:00.000000Z", "2026-01-31T12Z", "2026-01-31T12:00Z",
     "2026-01-31T12:00:00,5Z", "2026-01-31\xe912:00:00Z", "2026-01-31T12:00:00+0200", "2026-01-31T12:00:00.Z",
     "2026-01-31T24:00:00Z", "2026-01-31T24:00:00.000000Z", "2026-01-31T24:00:00"],
)  # fmt: skip
def test_an_invalid_time_is_refused(text: str) -> None:
    """In a sentence of bounded length; also other forms of ISO 8601, of which each release of Python reads some."""
    with pytest.raises(ValueError, match="time") as refused:
        time_of(text)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "value", [None, "", b"", "0", "-1", "+1", " 1", "1 ", "1_0", "1.0", "²", "\u0663", "1" * 11, b"\xb2", "x", b"1\0"]
)
def test_an_invalid_number_is_none(value: str | bytes | None) -> None:
    """Numbers are plain digits."""
    assert number_of(value) == 0


ID = "12345678-1234-5678-1234-56781234abcd"


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", ID.encode()])
def test_an_id_in_a_usual_form_is_that_uuid(text: str | bytes) -> None:
    """With or without dashes, in braces, as a URN."""
    assert uuid_of(text) == UUID(ID)


@pytest.mark.parametrize(
    "text",
    [f"{ID[:-1]}\n", f"{ID[:-1]}\uff18", f"{ID[:4]}_{ID[5:]}", f"-{ID}", ID.replace("8-", "-8"), f"{{{ID}", f"{ID}}}"],
)
def test_an_id_in_no_usual_form_is_no_other_events(text: str) -> None:
    """It has a UUID of its own, also where Python's UUID would read it as another one."""
    assert uuid_of(text).version == 5
    assert uuid_of(text) == uuid_of(text)


NAMES = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_streamversion", "content-type"]
MORE = ["ce_dataschemaversion", "ce_correlationid", "ce_causationid", "ce_traceparent", "ce_metadata", "x"]
GOOD = {"ce_specversion": "1.0", "ce_time": "2026-01-01T00:00:00Z", "ce_streamversion": "1", "ce_metadata": "{}"}
ODD = [
    None, "", b"", "1", "2", "0", "1.0", b"1.0", "{}", "[]", "x", b"\xff", b"1\xff", "\xe9", "\xe9".encode(), "\u0661",
    "\ud800", "2026-06-30T23:59:60Z", b"2026-06-30T23:59:60Z", "now", b"\xb2",
]  # fmt: skip
Values = list[tuple[str, str | bytes]]


def headers_with(*changes: tuple[str, str | bytes | None], more: Iterable[str] = ()) -> list[Any]:
    """Return an event's headers with other values: of one that it does not have, at the end."""
    headers: dict[str, str | bytes | None] = {name: GOOD.get(name, "7") for name in [*NAMES, *more]}
    return [*{**headers, **dict(changes)}.items()]


@st.composite
def some_headers(draw: st.DrawFn) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of an event, now and then with some changed, missing, added, or in another order."""
    names = draw(st.one_of(st.just(NAMES), st.permutations(NAMES), st.lists(st.sampled_from(NAMES + MORE), max_size=9)))
    names = [*names, *draw(st.lists(st.one_of(st.sampled_from(NAMES + MORE), st.text(max_size=3)), max_size=3))]
    odd = st.one_of(st.sampled_from(ODD), st.binary(max_size=4), st.text(max_size=4))
    values = [GOOD.get(name, "7") if draw(st.integers(0, 9)) else draw(odd) for name in names]
    encode = draw(st.booleans())
    return [
        (name, value.encode() if encode and isinstance(value, str) and is_utf_8(value) else value)
        for name, value in zip(names, values, strict=True)
    ]


def is_utf_8(text: str) -> bool:
    """Whether a text can be encoded."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def verdicts(headers: Values, unreadable: str | None = None) -> tuple[int | str, int | str]:
    """Return the verdict of each judge: the version of the schema, or the reason of a refusal."""
    message = Message("shop.order", "order-1", b"{}", headers, None, unreadable)

    def said(judge: Callable[[Message], int]) -> int | str:
        try:
            return judge(message)
        except UndecodableEvent as refused:
            return str(refused)

    return said(schema_version_of), said(lambda each: event_of(each, versioned=False).schema_version)


@example(headers_with(("ce_streamversion", b"\xff")), None)
@example(headers_with(("ce_id", b"\xff")), None)
@example(headers_with(("content-type", b"\xff")), None)
@example(headers_with(("ce_source", b"\xff"), ("ce_correlationid", "1")), None)
@example(headers_with(("ce_streamversion", b"\xff"), ("ce_dataschemaversion", "2")), None)
@example(headers_with(), "its value is a list")
@given(some_headers(), st.sampled_from([None, None, None, "its value is a list"]))
def test_the_quick_judge_agrees_with_the_thorough_one(headers: Values, unreadable: str | None) -> None:
    """Whether an event is refused, and why, does not depend on how much of it a handler wants to know."""
    quick, thorough = verdicts(headers, unreadable)

    assert quick == thorough


@pytest.mark.parametrize("name", [*NAMES, *MORE])
@pytest.mark.parametrize("more", [[], ["ce_dataschemaversion"], ["ce_correlationid", "x"], ["ce_metadata"]], ids=str)
def test_one_odd_header_is_judged_alike(name: str, more: list[str]) -> None:
    """With each odd value, once and doubled, in front and at the end, beside headers of each kind."""
    for value in ODD:
        headers = headers_with((name, value), more=more)
        for each in (headers, [*headers, (name, "7")], [(name, "7"), *headers], [*headers, (name, None)]):
            quick, thorough = verdicts(each)
            assert quick == thorough, each
