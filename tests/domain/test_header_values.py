"""The values of headers: one decoder for each, whoever wrote them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.header_values import number_of, time_of
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
     "2026-01-31T12:00:00Z\n", "\ud800", "9" * 10_000, "\u0662\u0660\u0662\u0666-01-31T12:00:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """In a sentence of bounded length."""
    with pytest.raises(ValueError, match="time") as refused:
        time_of(text)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "value", [None, "", b"", "0", "-1", "+1", " 1", "1 ", "1_0", "1.0", "²", "\u0663", "1" * 11, b"\xb2", "x", b"1\0"]
)
def test_what_is_no_number_is_none(value: str | bytes | None) -> None:
    """Numbers are plain digits."""
    assert number_of(value) == 0


NAMES = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_streamversion", "content-type"]
MORE = ["ce_dataschemaversion", "ce_correlationid", "ce_causationid", "ce_traceparent", "ce_metadata", "x"]
GOOD = {"ce_specversion": "1.0", "ce_time": "2026-01-01T00:00:00Z", "ce_streamversion": "1", "ce_metadata": "{}"}
ODD = st.sampled_from([None, "", "1", "2", "0", "1.0", "{}", "[]", "x", b"\xff", "2026-06-30T23:59:60Z", "now"])


@st.composite
def some_headers(draw: st.DrawFn) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of an event, now and then with some changed, missing, added, or in another order."""
    names = draw(st.one_of(st.just(NAMES), st.permutations(NAMES), st.lists(st.sampled_from(NAMES + MORE), max_size=9)))
    names = [*names, *draw(st.lists(st.sampled_from(MORE), max_size=3))]
    values = [GOOD.get(name, "7") if draw(st.integers(0, 9)) else draw(ODD) for name in names]
    encode = draw(st.booleans())
    return [
        (name, value.encode() if encode and isinstance(value, str) else value)
        for name, value in zip(names, values, strict=True)
    ]


@given(some_headers())
def test_the_quick_judge_says_what_the_thorough_one_says(headers: list[tuple[str, str | bytes]]) -> None:
    """Whether an event is refused does not depend on how much of it a handler wants to know."""
    message = Message("shop.order", "order-1", b"{}", headers)

    def judged() -> EncodedEvent | None:
        try:
            return event_of(message, versioned=False)
        except UndecodableEvent:
            return None

    event = judged()
    try:
        assert schema_version_of(message) == (event and event.schema_version)
    except UndecodableEvent:
        assert event is None
