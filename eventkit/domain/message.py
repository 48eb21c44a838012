"""An event on the wire: CloudEvents 1.0, binary content mode, by hand (1 µs; the SDK takes 12 and is our judge).

Every header costs throughput, so only those that a reader needs are there: `ce_subject` never (it is the key), the
schema version above 1 only, ids of cause, story and trace only where they exist. `ce_streamversion` is the version in
the stream (CloudEvents' own `sequence` orders the events of a source, as text), `ce_metadata` a JSON object of the
user's own metadata.
"""

from typing import Any

import msgspec

from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import UndecodableEvent

_DIGITS = 10  # versions are PostgreSQL integers
Headers = list[tuple[str, str | bytes]]


class Message(msgspec.Struct, gc=False):
    """What a transport carries.

    `tag` is never sent: a number that reports name the message by, or the transport's mark of a delivery.
    """

    topic: str
    key: str
    value: bytes | str
    headers: Headers
    tag: Any = None


_SPECVERSION = ("ce_specversion", "1.0")
_CONTENT_TYPE = ("content-type", "application/json")


def plain_headers(event_id: str, source: str, event_type: str, time: str, version: str) -> Headers:
    """Return the headers that every event has, in the order in which they are sent; nearly all events have no other."""
    return [
        _SPECVERSION,
        ("ce_id", event_id),
        ("ce_source", source),
        ("ce_type", event_type),
        ("ce_time", time),
        ("ce_streamversion", version),
        _CONTENT_TYPE,
    ]


def headers_of(event: EncodedEvent) -> Headers:
    """Return the headers of an event, in the order in which they are sent."""
    headers = plain_headers(event.id, event.source, event.type, event.time, str(event.version))
    if event.schema_version > 1:
        headers.append(("ce_dataschemaversion", str(event.schema_version)))
    if event.correlation_id is not None:
        headers.append(("ce_correlationid", event.correlation_id))
    if event.causation_id is not None:
        headers.append(("ce_causationid", event.causation_id))
    if event.traceparent is not None:
        headers.append(("ce_traceparent", event.traceparent))
    if event.extra is not None:
        headers.append(("ce_metadata", event.extra))
    return headers


def message_of(event: EncodedEvent, topic: str, *, tag: int | None = None) -> Message:
    """Put an encoded event on the wire."""
    return Message(topic, event.stream, event.data, headers_of(event), tag)


def unversioned(event: EncodedEvent, topic: str) -> Message:
    """Put what has no place in a stream on the wire: a message that is sent directly."""
    return Message(
        topic, event.stream, event.data, [each for each in headers_of(event) if each[0] != "ce_streamversion"]
    )


def event_of(message: Message, *, versioned: bool = True) -> EncodedEvent:
    """Read an encoded event off the wire; UndecodableEvent says which header is missing or wrong.

    What is not `versioned` has no place in a stream: its version is 0.
    """
    found = _texts(message)
    try:
        if found["ce_specversion"] != "1.0":
            raise _undecodable(message, f"its CloudEvents version is {found['ce_specversion']!r}, not '1.0'")
        return EncodedEvent(
            id=found["ce_id"],
            source=found["ce_source"],
            stream=message.key,
            version=_number(message, found, "ce_streamversion") if versioned else 0,
            type=found["ce_type"],
            schema_version=_number(message, found, "ce_dataschemaversion") if "ce_dataschemaversion" in found else 1,
            data=message.value,
            time=found["ce_time"],
            correlation_id=found.get("ce_correlationid"),
            causation_id=found.get("ce_causationid"),
            traceparent=found.get("ce_traceparent"),
            extra=found.get("ce_metadata"),
        )
    except KeyError as error:
        raise _undecodable(message, f"it has no header {error}") from error


def _texts(message: Message) -> dict[str, str]:
    try:
        return {name: value if isinstance(value, str) else value.decode() for name, value in message.headers}
    except (AttributeError, UnicodeDecodeError) as error:  # Kafka allows a header without a value, and any bytes
        raise _undecodable(message, f"a header is no text: {error}") from error


def _number(message: Message, found: dict[str, str], name: str) -> int:
    text = found[name]
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) > 0:
        return int(text)
    raise _undecodable(message, f"header {name!r} is {text!r}, not a number from 1")


def _undecodable(message: Message, reason: str) -> UndecodableEvent:
    return UndecodableEvent(f"the message with key {message.key!r} on {message.topic!r} is no event of ours: {reason}")
