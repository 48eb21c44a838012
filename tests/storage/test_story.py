"""The story of appended events: correlation, cause and trace follow from the handled event, up to the wire's headers.

Nothing is global: a store is bound to a cause, and to fields, by an expression.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from sqlalchemy import Connection

from eventkit import Append, Envelope, InvalidEvent, Metadata
from eventkit.domain.message import event_of
from eventkit.projection.define.sql import SqlProjection
from eventkit.storage.db.connection import connect
from eventkit.storage.entry import Entry
from eventkit.storage.events import encode_entry
from eventkit.storage.outbox.gap_reader import Ask
from eventkit.storage.outbox.outbox import READING, Outbox, message
from tests.projection.shop import projector
from tests.storage.shop import ORDER, OTHER, Placed, order, shop, store

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def span(trace_id: int = 1, span_id: int = 2) -> Iterator[str]:
    """Open a span of OpenTelemetry; yield its traceparent."""
    context = trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        yield f"00-{trace_id:032x}-{span_id:016x}-01"


def appended(connection: psycopg.Connection[Any], stream: str = ORDER) -> Envelope[Any]:
    """Return the last event of a stream."""
    return next(store.read_stream(connection, stream, backwards=True, limit=1))


def entry(event: Placed, metadata: Metadata | None = None) -> Entry:
    """Return an event as an unbound store records it."""
    return encode_entry(store, ORDER, event, expected=0, metadata=metadata)


def test_events_that_follow_an_event_belong_to_its_story(database_url: str) -> None:
    """The first event begins the story with its id; the cause is always the event that is handled."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1))
        first = appended(connection)
        store.following(first).append(connection, OTHER, Placed(2))
        second = appended(connection, OTHER)
        store.following(second).append(connection, order(3), Placed(3))
        third = appended(connection, order(3))

    assert first.metadata == Metadata()
    assert second.metadata == Metadata(correlation_id=str(first.id), causation_id=str(first.id))
    assert third.metadata == Metadata(correlation_id=str(first.id), causation_id=str(second.id))


def test_the_users_fields_follow_where_they_are_named(database_url: str) -> None:
    """A tenant may belong to the whole story, a remark to one event."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(), metadata={"tenant": "t-1", "remark": "x"})
        following = store.following(appended(connection), keep=["tenant", "absent"])
        following.append(connection, ORDER, Placed(), metadata={"user": "ada"})

        assert appended(connection).metadata.extra == {"tenant": "t-1", "user": "ada"}


def test_a_store_is_bound_by_an_expression_and_stays_as_it_was(database_url: str) -> None:
    """Binding returns another store: the shared one has no story."""
    with psycopg.connect(database_url) as connection:
        bound = store.with_metadata({"user": "ada", "correlation_id": "c-1"}).with_metadata({"tenant": "t-1"})
        bound.append_many(connection, [Append(ORDER, [Placed()]), Append(OTHER, [Placed()], metadata={"user": "bob"})])
        store.append(connection, order(3), Placed())
        found = [appended(connection, stream).metadata for stream in (ORDER, OTHER, order(3))]

    assert found == [
        Metadata(correlation_id="c-1", extra={"user": "ada", "tenant": "t-1"}),
        Metadata(correlation_id="c-1", extra={"user": "bob", "tenant": "t-1"}),
        Metadata(),
    ]


async def test_an_asynchronous_append_has_its_story_too(database_url: str) -> None:
    """A bound store has everything that a store has."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await store.append_async(connection, ORDER, Placed())
        [first] = [event async for event in store.read_stream_async(connection, ORDER)]
        await store.following(first).append_async(connection, OTHER, Placed())
        [second] = [event async for event in store.read_stream_async(connection, OTHER)]

    assert second.metadata.causation_id == str(first.id)


def test_the_current_span_is_the_trace_of_appended_events(database_url: str) -> None:
    """An event names the span that recorded it, before the trace of its cause; arguments of the call come first."""
    with psycopg.connect(database_url) as connection:
        with span() as current:
            store.append(connection, ORDER, Placed())
        first = appended(connection)
        store.following(first).append(connection, ORDER, Placed())
        passed_on = appended(connection).metadata.traceparent
        with span(3, 4) as later:
            store.following(first).append(connection, ORDER, Placed())
            beside = appended(connection).metadata.traceparent
            store.append(connection, ORDER, Placed(), metadata={"traceparent": TRACE})

        assert (first.metadata.traceparent, passed_on, beside) == (current, current, later)
        assert appended(connection).metadata.traceparent == TRACE


def test_without_opentelemetry_there_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process has not imported it there is nothing to ask; a half imported one has no spans yet."""
    with span() as current:
        assert current in entry(Placed()).metadata[0]
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", object())
        assert entry(Placed()).metadata == ("{}",)
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        assert entry(Placed()).metadata == ("{}",)


def test_a_bad_field_is_refused_wherever_it_was_given() -> None:
    """Fields that are bound are checked as those of the call are."""
    with pytest.raises(InvalidEvent, match="correlation_id is 'a b'"):
        encode_entry(store.with_metadata({"correlation_id": "a b"}), ORDER, Placed(), expected=0)
    with pytest.raises(InvalidEvent, match="extra is"):
        encode_entry(store.with_metadata({"user": 1}), ORDER, Placed(), expected=0, metadata=Metadata(extra=[1]))  # type: ignore[arg-type]


def test_the_story_goes_from_a_handlers_append_to_the_wires_headers(database_url: str) -> None:
    """A projection's handler appends in its transaction, following its event; the relay's message says so."""
    echo = SqlProjection("echo", shop)

    @echo.on(Placed)
    def placed(connection: Connection, event: Placed, envelope: Envelope[Placed]) -> None:
        if event.n == 1:
            store.following(envelope, keep=["tenant"]).append(connection, OTHER, Placed(2))

    with psycopg.connect(database_url) as connection, span():
        store.append(connection, ORDER, Placed(1), metadata={"correlation_id": "c-1", "tenant": "t-1"})
    with connect(database_url, name="relay", autocommit=True, options=READING) as connection:
        outbox = Outbox(connection, "eventkit")
        ask = Ask(cursor=0, above=True, positions=[], spans=[], in_flight=[], limit=10, max_bytes=10_000)
        [first] = [message(row) for row in outbox.fetch(ask).rows]
        with projector(database_url, echo) as running:
            running.apply([first])
        second = message(outbox.fetch(ask).rows[1])

    assert event_of(second).causation_id == event_of(first).id
    assert dict(second.headers)["ce_correlationid"] == "c-1"
    assert dict(second.headers)["ce_traceparent"] == dict(first.headers)["ce_traceparent"]
    assert dict(second.headers)["ce_metadata"] == '{"tenant":"t-1"}'
