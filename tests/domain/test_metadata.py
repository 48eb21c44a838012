"""The story of an event: its allowed values, and that they come back."""

from typing import Any
from uuid import UUID

import pytest

from eventkit import InvalidEvent, Metadata

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
METADATA = [
    ({"correlation_id": ""}, "correlation_id is ''"),
    ({"correlation_id": UUID(int=1)}, "correlation_id is UUID"),
    ({"causation_id": "a b"}, "causation_id is 'a b'"),
    ({"causation_id": "x" * 201}, "causation_id"),
    ({"traceparent": "00-1-2-3"}, "traceparent is '00-1-2-3'"),
    ({"traceparent": TRACE, "tracestate": "a"}, "tracestate is 'a'"),
    ({"traceparent": TRACE, "tracestate": "a=1," * 33 + "a=1"}, "tracestate is"),
    ({"traceparent": TRACE, "tracestate": "a=" + "x" * 600}, "tracestate is"),
    ({"tracestate": "a=1"}, "without the traceparent"),
    ({"user": float("nan")}, "no such number"),
    ({"user": "\x00"}, "NUL"),
    ({"user": "\ud800"}, "surrogate"),
    ({"user": (1,)}, "tuple"),
    ({"user": object()}, "user"),
    ({"": 1}, "the name ''"),
    ({1: 1}, "the name 1"),
    ({"user": "x" * 70_000}, "limit is 60,000"),
    (5, "neither a Metadata nor a mapping"),
    (Metadata(extra={"causation_id": "x"}), "cannot be the user's own"),
    (Metadata(extra=[1]), "not a mapping"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("fields", "words"), METADATA)
def test_bad_metadata_is_refused_with_its_value(fields: Any, words: str) -> None:
    """The rules of events hold for metadata."""
    with pytest.raises(InvalidEvent, match=words):
        Metadata.of(fields).to_json()


def test_metadata_comes_back_equal() -> None:
    """Reserved names and the user's own are one JSON object."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = Metadata.of({"correlation_id": "c-1", "traceparent": trace, "user": {"id": 5, "é": None}})

    text = metadata.to_json()

    assert text == f'{{"correlation_id":"c-1","traceparent":"{trace}","user":{{"id":5,"é":null}}}}'
    assert Metadata.from_json(text) == metadata
    assert Metadata.of(None).to_json() == "{}"
    assert Metadata.of(metadata) is metadata


@pytest.mark.parametrize(
    ("given", "fitted"),
    [
        ("abc-1", "abc-1"), ("abc def", "abc%20def"), ("café", "caf%C3%A9"), ("", None), (None, None), ("100%", "100%"),
        (b"caf\xc3\xa9\r\n", "caf%C3%83%C2%A9%0D%0A"), ("a\x00\ud800", "a%00%ED%A0%80"), (42, "42"),
        ("~" * 200, "~" * 200),
    ],
)  # fmt: skip
def test_an_id_from_outside_is_made_to_fit(given: Any, fitted: str | None) -> None:
    """A valid id stays; other characters are escaped; an empty text is no id."""
    metadata = Metadata.fitting(correlation_id=given, causation_id=given, traceparent=given)

    assert (metadata.correlation_id, metadata.causation_id, metadata.traceparent) == (fitted, fitted, None)
    metadata.to_json()


def test_long_ids_that_differ_stay_different() -> None:
    """They are cut, and end with a digest of the whole."""
    first, second = (Metadata.fitting(correlation_id="x" * 300 + end) for end in "ab")

    assert len({first.correlation_id, second.correlation_id, "x" * 200}) == 3
    assert len(first.correlation_id or "") == 200
    assert first == Metadata.fitting(correlation_id="x" * 300 + "a")
    first.to_json()


def test_a_traceparent_that_is_one_is_kept() -> None:
    """Others are dropped, as the W3C wants it."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    assert Metadata.fitting(traceparent=trace, extra={"a": 1}) == Metadata.of({"traceparent": trace, "a": 1})


@pytest.mark.parametrize(
    ("trace", "state", "kept"),
    [
        (TRACE, "vendor=opaque,tenant@system=7", True), (TRACE, "a=1 , b=2", True), (TRACE, "a=" + "x" * 200, True),
        (TRACE, "A=1", False), (TRACE, "a=", False), (TRACE, "a=1\n", True), (TRACE, "a=1,,", False),
        (TRACE, "", False), ("00-1", "a=1", False), (None, "a=1", False), (TRACE, "a=é", False),
    ],
)  # fmt: skip
def test_a_tracestate_is_kept_beside_its_traceparent(trace: str | None, state: str, kept: bool) -> None:  # noqa: FBT001
    """A state that is none, or that belongs to no trace, is dropped."""
    metadata = Metadata.fitting(traceparent=trace, tracestate=state)

    assert metadata.tracestate == (state.strip() if kept else None)
    assert Metadata.from_json(metadata.to_json()) == metadata


def test_a_trace_is_taken_whole() -> None:
    """A state never stands beside the traceparent of another trace."""
    other = TRACE.replace("b7", "c8")
    base = Metadata(traceparent=TRACE, tracestate="a=1")

    assert Metadata(traceparent=other).over(base) == Metadata(traceparent=other)
    assert Metadata(correlation_id="c").over(base) == Metadata(correlation_id="c", traceparent=TRACE, tracestate="a=1")
