"""Traces on the real path: append, relay, Kafka, projector; and no cost where nobody traces."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Column as SqlColumn
from sqlalchemy import Connection, Integer, MetaData, Table, Text

from eventkit import Append, Catalog, Envelope, EventStore, Handlers, TableProjection
from eventkit.config import Settings
from eventkit.domain.message import READ_HEADERS, Message
from eventkit.errors import ConcurrencyError, RequestTimeout
from eventkit.messaging import Listener, Requester, Sender
from eventkit.messaging.replies import OUTCOME, REPLY_TO
from eventkit.observability import tracing
from eventkit.observability.tracing import MAX_LINKS, PROCESS, Trace
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.transports.base import open_transport
from eventkit.transports.local import LocalTransport
from tests.messaging.pricing import CREATE as CREATE_ASKED
from tests.messaging.pricing import TOPICS, GetPrice, Price, PriceChanged, pricing, working
from tests.observability.spans import STATE, Spans, linked, parent_of, place, spans, told
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.surroundings.rig import execute, found, projected, relayed
from tests.waiting import wait_until

__all__ = ["spans"]
ROOT = Path(__file__).parents[2]

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class Ordered:
    """Somebody has bought something."""

    customer: str
    amount: int = 1


@pytest.fixture
def broker(kafka: KafkaServer | GivenKafka) -> str:
    """The broker's address."""
    return f"kafka://{kafka.bootstrap}"


@pytest.fixture
def category(broker: str) -> str:
    """A category with a topic of the test's own."""
    name = f"c{uuid.uuid4().hex[:8]}"
    transport = open_transport(broker)
    transport.create_topics([f"shop.{name}"], partitions=2)
    transport.close()
    return name


def counting(category: str) -> SqlProjection:
    """Return a read model that counts, and that cannot take the customer 4711."""
    projection = SqlProjection("counting", shop, categories=[category])

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:  # noqa: ARG001
        if event.customer == "4711":
            raise ValueError(f"cannot take {event.customer}")

    return projection


def headers_of(broker: str, topic: str) -> list[dict[str, str]]:
    """Return the headers of a topic's messages."""
    transport = open_transport(broker)
    subscription = transport.subscribe([topic], f"look-{uuid.uuid4().hex[:8]}")
    messages = wait_until(lambda: subscription.receive(10, 1.0))
    subscription.close()
    transport.close()
    return [
        {name: value if isinstance(value, str) else value.decode() for name, value in each.headers} for each in messages
    ]


def test_a_trace_is_followed_from_the_append_over_kafka_to_the_read_model(
    database_url: str, broker: str, category: str, spans: Spans
) -> None:
    """The append is a child of the request's span; publish and process link to it, with their attributes."""
    with psycopg.connect(database_url) as connection:
        for number in range(3):
            with spans.under():
                store.append(connection, shop.stream(category, number), Ordered("ann"))
    relayed(database_url, broker)
    projected(database_url, broker, counting(category), group=f"readers-of-{category}")

    topic = f"shop.{category}"
    appends = {place(span) for span in spans.named(f"append {topic}")}
    published, processed = spans.named(f"publish {topic}"), spans.named(f"process {topic}")
    assert {parent_of(span) for span in spans.named(f"append {topic}")} == {
        place(span) for span in spans.named("request")
    }
    assert len(appends) == 3
    for found_spans, kind in ((published, SpanKind.CLIENT), (processed, SpanKind.CONSUMER)):
        assert set().union(*(linked(span) for span in found_spans)) == appends
        assert {(span.kind, told(span)["messaging.system"]) for span in found_spans} == {(kind, "kafka")}
    assert sum(int(str(told(span).get("messaging.batch.message_count", 1))) for span in published) == 3
    assert {told(span)["eventkit.projection"] for span in processed} == {"counting"}
    assert {told(span)["messaging.consumer.group.name"] for span in processed} == {f"readers-of-{category}"}
    assert all(told(span)["messaging.destination.name"] == topic for span in [*published, *processed])
    [header, *_] = headers_of(broker, topic)
    assert header["ce_tracestate"] == STATE
    assert tuple(int(part, 16) for part in header["ce_traceparent"].split("-")[1:3]) in appends


def test_the_state_of_a_trace_comes_back(database_url: str, spans: Spans) -> None:
    """`tracestate` stands beside `traceparent` in the metadata, and an event that follows has both."""
    with psycopg.connect(database_url) as connection:
        with spans.under():
            store.append(connection, shop.stream("order", 1), Ordered("ann"))
        [first] = store.read_stream(connection, shop.stream("order", 1))
        store.following(first).append(connection, shop.stream("order", 2), Ordered("bob"))
        [second] = store.read_stream(connection, shop.stream("order", 2))

    assert first.metadata.tracestate == second.metadata.tracestate == STATE
    one, other = spans.named("append shop.order")
    assert parent_of(other) == place(one)
    assert linked(other) == {place(one)}


def test_an_append_that_fails_is_an_error_without_a_word_of_its_events(database_url: str, spans: Spans) -> None:
    """The span has the error's class; its message may quote an event."""
    with psycopg.connect(database_url) as connection, pytest.raises(ConcurrencyError):
        store.append(connection, shop.stream("order", 1), Ordered("4711"), expected=5)

    [failed] = spans.named("append shop.order")
    assert (failed.status.status_code, told(failed)["error.type"]) == (StatusCode.ERROR, "ConcurrencyError")
    assert "4711" not in spans.text()


def test_a_batch_with_a_failing_event_says_which_and_quotes_nothing(
    database_url: str, spans: Spans, broker: str, category: str
) -> None:
    """Each failed attempt is an event of the batch's span, with stream, version, attempt and the error's class."""
    with psycopg.connect(database_url) as connection:
        store.append_many(
            connection,
            [Append(shop.stream(category, number), [Ordered(who)]) for number, who in enumerate(["ann", "4711"])],
        )
    relayed(database_url, broker)
    projection = counting(category)
    projection.retry = projection.retry.__class__(attempts=1)
    projected(database_url, broker, projection)

    failed = [span for span in spans.named(f"process shop.{category}") if span.status.status_code is StatusCode.ERROR]
    assert {told(span)["error.type"] for span in failed} == {"ValueError"}
    notes = [event for span in failed for event in span.events if event.name == "eventkit.failed"]
    assert {dict(event.attributes or {})["eventkit.stream"] for event in notes} == {f"{category}-1"}
    assert "4711" not in spans.text()


def message(number: int, *, sampled: bool) -> Message:
    """Return a message with a context of its own."""
    parent = f"00-{number:032x}-{number:016x}-{sampled:02x}"
    return Message("shop.order", "order-1", b"{}", [("ce_traceparent", parent)])


def test_a_span_has_a_bounded_number_of_links(spans: Spans) -> None:
    """The sampled contexts come first: a link to another one leads nowhere. The span says how many are missing."""
    messages = [message(number, sampled=number > 200) for number in range(1, 301)]
    messages += [Message("shop.order", "order-1", b"{}", [("ce_traceparent", text)]) for text in ("", "00-x", "ff-1")]

    with tracing.messages_span(PROCESS, [*messages, *messages]):
        pass

    [span] = spans.named("process shop.order")
    assert len(span.links) == MAX_LINKS
    assert {number for number, _ in linked(span)} >= set(range(201, 301))
    assert told(span)["eventkit.links.left_out"] == 300 - MAX_LINKS


def test_a_request_and_its_reply_are_one_trace(database_url: str, spans: Spans) -> None:
    """The responder works as a child of the request, where it took one alone, and its reply links to the request."""
    execute(database_url, CREATE_ASKED)
    transport = LocalTransport(name := uuid.uuid4().hex)
    transport.create_topics(TOPICS, partitions=1)
    with (
        working(database_url, f"local://{name}"),
        Requester(transport, pricing, replies="shop.replies") as requester,
        spans.under(),
    ):
        requester.request(pricing.stream("price", "tea"), GetPrice("tea"), Price, timeout=60)

    wait_until(lambda: spans.named("reply shop.replies"))
    [request], [work] = spans.named("request pricing.price"), spans.named("process pricing.price")
    [reply] = spans.named("reply shop.replies")
    assert parent_of(work) == place(request)
    assert linked(reply) == linked(work) == {place(request)}
    assert (request.kind, work.kind, reply.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CLIENT)


async def test_a_request_without_a_responder_is_an_error(spans: Spans) -> None:
    """Its span lasts as long as the wait."""
    transport = LocalTransport(uuid.uuid4().hex)
    transport.create_topics(TOPICS, partitions=1)
    with Requester(transport, pricing, replies="shop.replies") as requester, pytest.raises(RequestTimeout):
        await requester.request_async(pricing.stream("price", "tea"), GetPrice("tea"), Price, timeout=0.01)

    assert told(spans.named("request pricing.price")[0])["error.type"] == "RequestTimeout"


def test_a_broadcast_links_its_listeners_to_its_sender(spans: Spans) -> None:
    """A listener's function works within the span of its batch."""
    transport = LocalTransport(uuid.uuid4().hex)
    transport.create_topics(TOPICS, partitions=1)
    listener = Listener(transport, pricing, categories=["price"])
    heard: list[int] = []

    @listener.on(PriceChanged)
    def changed(event: PriceChanged) -> None:  # noqa: ARG001
        heard.append(trace.get_current_span().get_span_context().span_id)

    with listener, Sender(transport, pricing) as sender:
        sender.broadcast(pricing.stream("price", "tea"), PriceChanged("tea"))
        wait_until(lambda: spans.named("process pricing.price"))

    [sent], [received] = spans.named("send pricing.price"), spans.named("process pricing.price")
    assert linked(received) == {place(sent)}
    assert heard == [place(received)[1]]


def test_a_handlers_append_belongs_to_its_batch_and_links_to_its_event(database_url: str, spans: Spans) -> None:
    """So it is with `async def` handlers in lanes of their own, too."""
    handlers = Handlers("echo", shop, categories=["order"], concurrency=2)

    @handlers.on(Ordered)
    async def ordered(connection: psycopg.AsyncConnection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        number = envelope.stream.key
        await store.following(envelope).append_async(connection, shop.stream("copy", number), event)

    with psycopg.connect(database_url) as connection:
        for number in range(4):
            store.append(connection, shop.stream("order", number), Ordered("ann"))
    projected(database_url, None, handlers)

    causes = {place(span) for span in spans.named("append shop.order")}
    batches = {place(span) for span in spans.named("process")}  # the store has no topics
    copies = spans.named("append shop.copy")
    assert len(copies) == 4
    assert {parent_of(span) for span in copies} <= batches
    assert set().union(*(linked(span) for span in copies)) == causes


def test_a_rebuild_is_a_span(database_url: str, spans: Spans) -> None:
    """It names the read model and the number of its events."""
    metadata = MetaData()
    table = Table("orders", metadata, SqlColumn("customer", Text, primary_key=True), SqlColumn("orders", Integer))
    execute(database_url, "create table orders (customer text primary key, orders int not null default 0)")
    projection = TableProjection("orders", shop, table=table, key="customer")

    @projection.on(Ordered)
    def ordered(row: object, event: Ordered) -> None:  # noqa: ARG001
        row.orders += 1  # type: ignore[attr-defined]

    with psycopg.connect(database_url) as connection:
        store.append(connection, shop.stream("order", 1), Ordered("ann"), Ordered("bob"))
    RebuildRun(projection, Settings(database_url=database_url), RebuildPlan()).run()

    [span] = spans.named("rebuild orders")
    assert told(span) == {"eventkit.projection": "orders", "eventkit.events": 2}
    assert found(database_url, "select * from orders order by 1") == [("ann", 1), ("bob", 1)]


def test_without_an_sdk_there_is_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the API was imported and nothing configured, nor where it was not imported at all."""
    assert tracing.span(PROCESS, ["shop.order"], causes=[Trace("00-1")]) is tracing.NO_SPAN
    assert tracing.start_span(PROCESS, [message(1, sampled=True)], {}) is None
    monkeypatch.delitem(__import__("sys").modules, "opentelemetry.trace")
    assert not tracing.is_on()
    assert tracing.messages_span(PROCESS, _none()) is tracing.NO_SPAN


def _none() -> Sequence[Message]:
    return []


def test_the_page_lists_every_span() -> None:
    """Docs, docstring and code name the same spans with the same kinds."""
    signals = {each.operation: each.kind for each in vars(tracing).values() if isinstance(each, tracing.Signal)}
    for text in ((ROOT / "docs/tracing.md").read_text(), tracing.__doc__ or ""):
        assert dict(re.findall(r"^\| `(\w+) [A-Z]+` *\| ([A-Z]+) *\|", text, re.MULTILINE)) == signals


def test_the_page_of_the_wire_lists_every_header() -> None:
    """Each attribute that eventkit sends or reads is in its table."""
    page = (ROOT / "docs/wire.md").read_text()
    named = {
        f"ce_{name}"
        for row in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)
        for name in re.findall("`([a-z]+)`", row)
    }
    named.update(re.findall("`(content-type)`", page))
    assert named >= READ_HEADERS | {REPLY_TO, OUTCOME, "ce_subject"}
