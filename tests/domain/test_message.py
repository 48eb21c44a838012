"""The form on the wire, judged by the CloudEvents SDK."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eventkit import EncodedEvent, UndecodableEvent
from eventkit.domain.message import Message, event_of, headers_of, message_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ids = st.none() | st.from_regex(r"[!-~]{1,40}", fullmatch=True)
events = st.builds(
    EncodedEvent,
    id=st.uuids().map(str),
    source=st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    stream=st.from_regex(r"order-[a-z0-9é€-]{1,20}", fullmatch=True),
    version=st.integers(1, 2**31 - 1),
    type=st.from_regex(r"[A-Z][A-Za-z.]{0,30}", fullmatch=True),
    schema_version=st.integers(1, 32_767),
    data=st.dictionaries(st.text(), st.integers() | st.text()).map(msgspec.json.encode),
    time=st.datetimes().map(lambda at: at.isoformat(timespec="microseconds") + "Z"),
    correlation_id=ids,
    causation_id=ids,
    traceparent=st.just(TRACE),
    tracestate=st.none() | st.just("vendor=opaque,tenant@system=7"),
    extra=st.none()
    | st.dictionaries(st.text(), st.text(), min_size=1).map(lambda extra: msgspec.json.encode(extra).decode()),
)


def an_event() -> EncodedEvent:
    """Return a plain event."""
    time = "2026-01-02T03:04:05.678901Z"
    return EncodedEvent(
        id=str(UUID(int=1)), source="shop", stream="order-1", version=3, type="Placed", data=b"{}", time=time
    )


def as_kafka_has_it(event: EncodedEvent) -> KafkaMessage:
    """Return the message with its headers in bytes."""
    headers = {name: value.encode() if isinstance(value, str) else value for name, value in headers_of(event)}
    return KafkaMessage(headers, event.stream, event.data if isinstance(event.data, bytes) else event.data.encode())


@given(events)
def test_the_sdk_reads_our_messages(event: EncodedEvent) -> None:
    """Every message of eventkit is a valid CloudEvent 1.0 for the official SDK, with the same attributes and data."""
    seen = from_binary(as_kafka_has_it(event), JSONFormat(), CloudEvent)

    assert (seen.get_specversion(), seen.get_id(), seen.get_source()) == ("1.0", event.id, event.source)
    assert (seen.get_type(), seen.get_extension("streamversion")) == (event.type, str(event.version))
    assert seen.get_time() == datetime.fromisoformat(event.time)
    assert seen.get_data() == msgspec.json.decode(event.data)
    assert seen.get_extension("correlationid") == event.correlation_id
    assert seen.get_extension("metadata") == event.extra


@given(events)
def test_our_decoder_reads_messages_of_the_sdk(event: EncodedEvent) -> None:
    """The SDK reads our event and writes it again: the result is the same event."""
    written = to_binary(from_binary(as_kafka_has_it(event), JSONFormat(), CloudEvent), JSONFormat())

    back = event_of(Message("shop.order", event.stream, written.value, list(written.headers.items())))

    assert msgspec.json.decode(back.data) == msgspec.json.decode(event.data)
    assert back.time.rstrip("Z").ljust(26, "0")[:19] == event.time[:19]
    assert msgspec.structs.replace(back, data=event.data, time=event.time) == event


@given(events)
def test_an_event_comes_back_from_its_message(event: EncodedEvent) -> None:
    """Nothing is lost between message_of and event_of."""
    message = message_of(event, "shop.order", tag=7)

    assert (message.key, message.topic, message.tag) == (event.stream, "shop.order", 7)
    assert event_of(message) == event


def test_only_needed_headers_are_sent() -> None:
    """Headers cost throughput: a plain event has seven."""
    assert [name for name, _ in headers_of(an_event())] == [
        "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_streamversion", "content-type"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_streamversion"])
def test_a_missing_header_is_named(name: str) -> None:
    """A message of somebody else is refused with the header it lacks and where it came from."""
    headers = [header for header in headers_of(an_event()) if header[0] != name]

    with pytest.raises(UndecodableEvent, match=f"order-1.*shop.order.*{name}"):
        event_of(Message("shop.order", "order-1", b"{}", headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_streamversion", "x"), ("ce_streamversion", "0"), ("ce_streamversion", "-1"), ("ce_streamversion", "²"),
        ("ce_streamversion", "1_0"), ("ce_streamversion", "9" * 5000), ("ce_dataschemaversion", ""),
        ("ce_specversion", "0.3"),
        ("ce_id", b"\xff"), ("ce_id", None),
    ],
)  # fmt: skip
def test_a_wrong_header_is_refused(name: str, value: str | bytes | None) -> None:
    """Nothing but UndecodableEvent comes out of a message that anyone may have written."""
    headers: list[Any] = [header for header in headers_of(an_event()) if header[0] != name]
    headers.append((name, value))

    with pytest.raises(UndecodableEvent, match="no event of eventkit"):
        event_of(Message("shop.order", "order-1", b"{}", headers))
