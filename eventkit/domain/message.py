"""An event on the wire: CloudEvents 1.0 in binary content mode. Encoding takes 1 µs; the CloudEvents SDK takes 12.

The tests compare the messages with those of the SDK. Every header costs throughput, so a message has only the needed
ones: never `ce_subject` (the message's key), the schema version only above 1, correlation, causation and trace only
where they exist. `ce_streamversion` is the version in the stream; CloudEvents' `sequence` would order the events of a
whole source, as text. `ce_metadata` is a JSON object with the user's own metadata.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.header_values import Raw, number_of, shown, time_of
from eventkit.domain.json_members import members
from eventkit.errors import UndecodableEvent

Headers = list[tuple[str, str | bytes]]  # off the wire also None, a header without a value: read as a missing one


class Message(msgspec.Struct, gc=False):
    """A message of a transport.

    `tag` is never sent: it is a number by which delivery reports name the message, or the transport's delivery tag.
    `unreadable` is the reason why a received message has another form; the other fields then hold as much of it as
    they can.
    """

    topic: str
    key: str
    value: bytes | str
    headers: Headers
    tag: Any = None
    unreadable: str | None = None


class PlainMessage(Message, gc=False):
    """A received message with the headers of `plain_headers` in their order, and no others.

    It keeps their values and makes the list when it is asked. A client makes 30 objects for the headers of a message:
    they are checked and freed at once, while they are in the processor's cache. Each later pass over a batch would wait
    for memory, and the garbage collector would look through them. The event's schema version is 1, because it has no
    header for another one.
    """

    event_id: bytes = b""
    source: bytes = b""
    type: bytes = b""
    time: bytes = b""
    version: int = 0

    @property  # type: ignore[misc]  # the list of the field is empty
    def headers(self) -> Headers:  # type: ignore[override]  # read-only
        """The headers as received."""
        return [
            (_SPECVERSION[0], b"1.0"),
            ("ce_id", self.event_id),
            ("ce_source", self.source),
            ("ce_type", self.type),
            ("ce_time", self.time),
            ("ce_streamversion", b"%d" % self.version),
            (_CONTENT_TYPE[0], _JSON_BYTES),
        ]


def size_of(message: Message) -> int:
    """Return a message's approximate size in bytes; headers count only if there are more than the usual few."""
    headers = () if type(message) is PlainMessage else message.headers
    if len(headers) <= _USUAL_HEADERS:
        return len(message.value)
    return len(message.value) + sum([len(value or "") for _, value in headers])


def total_size(messages: Sequence[Message]) -> int:
    """Return the approximate size of messages in bytes, without a call for each plain one."""
    return sum([len(each.value) if type(each) is PlainMessage else size_of(each) for each in messages])


def is_plain(headers: Headers) -> bool:
    """Return whether headers are those of `plain_headers`, and no others."""
    return len(headers) == _PLAIN and headers[0] is _SPECVERSION and headers[6] is _CONTENT_TYPE


_USUAL_HEADERS = 7
_SPECVERSION = ("ce_specversion", "1.0")
JSON_TYPE = "application/json"
_JSON_BYTES = JSON_TYPE.encode()
_CONTENT_TYPE = ("content-type", JSON_TYPE)


def plain_headers(event_id: str, source: str, event_type: str, time: str, version: str) -> Headers:
    """Return the headers of every event, in the order of sending; most events have no others."""
    return [
        _SPECVERSION,
        ("ce_id", event_id),
        ("ce_source", source),
        ("ce_type", event_type),
        ("ce_time", time),
        ("ce_streamversion", version),
        _CONTENT_TYPE,
    ]


def plain_message(topic: str, key: str, value: bytes, headers: Sequence[tuple[str, Any]], tag: Any) -> Message | None:
    """Return a received message as a PlainMessage; None if it has other headers, or is in another content mode."""
    if len(headers) != _PLAIN:
        return None
    (a, spec), (b, event_id), (c, source), (d, kind), (e, time), (f, number), (g, content) = headers
    # Compared by name, because a message with seven headers may have other ones.
    if (
        a == "ce_specversion" and b == "ce_id" and c == "ce_source" and d == "ce_type" and e == "ce_time"
        and f == "ce_streamversion" and g == "content-type" and spec == b"1.0" and content == _JSON_BYTES
        and event_id and source and kind and time
    ):  # fmt: skip
        version = _SMALL_VERSIONS.get(number) or _large_version(number)
        if version:
            return PlainMessage(topic, key, value, NOT_KEPT, tag, None, event_id, source, kind, time, version)
    return None


def _large_version(number: Any) -> int:
    """Return a version that `PlainMessage.headers` writes as it was received, otherwise 0."""
    version = number_of(number)
    return version if version and b"%d" % version == number else 0


def headers_of(event: EncodedEvent) -> Headers:
    """Return all headers of an event, in the order of sending."""
    headers = plain_headers(event.id, event.source, event.type, event.time, str(event.version))
    if event.schema_version > 1:
        headers.append(("ce_dataschemaversion", str(event.schema_version)))
    if event.correlation_id is not None:
        headers.append(("ce_correlationid", event.correlation_id))
    if event.causation_id is not None:
        headers.append(("ce_causationid", event.causation_id))
    if event.traceparent is not None:
        headers.append(("ce_traceparent", event.traceparent))
        if event.tracestate is not None:
            headers.append(("ce_tracestate", event.tracestate))
    if event.extra is not None:
        headers.append(("ce_metadata", event.extra))
    return headers


def message_of(event: EncodedEvent, topic: str, *, tag: int | None = None) -> Message:
    """Return the message of an encoded event."""
    return Message(topic, event.stream, event.data, headers_of(event), tag)


def unversioned(event: EncodedEvent, topic: str) -> Message:
    """Return a message without a version: it is sent directly, and belongs to no stream."""
    return Message(
        topic, event.stream, event.data, [each for each in headers_of(event) if each[0] != "ce_streamversion"]
    )


def event_of(message: Message, *, versioned: bool = True) -> EncodedEvent:
    """Return the encoded event of a message; raise UndecodableEvent, which names the missing or wrong header.

    A message that is not `versioned` belongs to no stream: its version is 0.
    """
    if type(message) is PlainMessage and (event := _plain_event(message)) is not None:
        return event
    found = _texts(message)
    schema_version = _checked(message, found)
    version = number_of(found.get("ce_streamversion")) if versioned else 0
    if versioned and not version:
        raise _undecodable(message, _no_number("ce_streamversion", found.get("ce_streamversion")))
    return EncodedEvent(
        id=found["ce_id"],
        source=found["ce_source"],
        stream=message.key,
        version=version,
        type=found["ce_type"],
        schema_version=schema_version,
        data=message.value,
        time=found["ce_time"],
        correlation_id=found.get("ce_correlationid"),
        causation_id=found.get("ce_causationid"),
        traceparent=found.get("ce_traceparent"),
        tracestate=found.get("ce_tracestate"),
        extra=found.get("ce_metadata"),
    )


def _plain_event(message: PlainMessage) -> EncodedEvent | None:
    """Return the encoded event of a plain message; None if a header is wrong."""
    try:
        event = EncodedEvent(
            id=message.event_id.decode(),
            source=message.source.decode(),
            stream=message.key,
            version=message.version,
            type=message.type.decode(),
            data=message.value,
            time=message.time.decode(),
        )
        time_of(event.time)
    except ValueError:
        return None
    return event


def schema_version_of(message: Message) -> int:
    """Check an event's headers as `event_of` does, except its version, and return the schema version.

    The two fast paths accept only ASCII, so that every value is valid UTF-8. All other messages take the slow path.
    """
    headers = message.headers
    try:
        if message.unreadable is None and len(headers) == _PLAIN:
            (a, spec), (b, event_id), (c, source), (d, kind), (e, time), (f, version), (g, content) = headers
            # Compared by name, because a message with seven headers may have other ones.
            if (
                a == "ce_specversion" and b == "ce_id" and c == "ce_source" and d == "ce_type" and e == "ce_time"
                and f == "ce_streamversion" and g == "content-type" and spec in _ONE and event_id and source and kind
                and time and version and content and event_id.isascii() and source.isascii() and kind.isascii()
                and version.isascii() and content.isascii()
            ):  # fmt: skip
                time_of(time if isinstance(time, str) else time.decode())
                return 1
        found: dict[str, Raw] = dict(headers)
        if len(found) == len(headers) and message.unreadable is None and _is_plain(found):
            return number_of(found.get("ce_dataschemaversion", "1")) or _checked(message, _texts(message))
    except ValueError:  # a wrong time: the slow path raises the error
        pass
    return _checked(message, _texts(message))


def _is_plain(found: dict[str, Raw]) -> bool:
    """Return whether the required headers are present and all that are read are ASCII, without `ce_metadata`."""
    time = found.get("ce_time")
    if not (time and found.get("ce_id") and found.get("ce_source") and found.get("ce_type")):
        return False
    if found.get("ce_specversion") not in _ONE or "ce_metadata" in found:
        return False
    for name in _TEXTS:
        value = found.get(name)
        if value is not None and not value.isascii():
            return False
    time_of(time if isinstance(time, str) else time.decode())
    return True


NOT_KEPT: Headers = []  # of a PlainMessage
_SMALL_VERSIONS = {b"%d" % version: version for version in range(1, 10_000)}  # a lookup is faster than parsing
_PLAIN = 7  # headers, where an event has no others
_ONE = ("1.0", b"1.0")
_NEEDED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time")
_TEXTS = (  # headers whose form is not checked
    "ce_id", "ce_source", "ce_type", "ce_streamversion", "ce_correlationid", "ce_causationid", "ce_traceparent",
    "ce_tracestate", "content-type",
)  # fmt: skip
READ_HEADERS = frozenset([*_NEEDED, *_TEXTS, "ce_dataschemaversion", "ce_metadata"])


def _texts(message: Message) -> dict[str, str]:
    """Return the headers that eventkit reads, as text; other headers may hold anything and are ignored."""
    if message.unreadable is not None:
        raise _undecodable(message, message.unreadable)
    found: dict[str, str] = {}
    headers: Sequence[tuple[str, Raw]] = message.headers
    for name, value in headers:
        if name in READ_HEADERS and value is not None:
            if name in found:
                raise _undecodable(message, f"header {name!r} is there twice")
            try:
                found[name] = value if isinstance(value, str) else value.decode()
            except UnicodeDecodeError as error:
                raise _undecodable(message, f"header {name!r} is no UTF-8: {error.reason}") from error
    return found


def _checked(message: Message, found: dict[str, str]) -> int:
    for name in _NEEDED:
        if not found.get(name):
            raise _undecodable(message, f"it has no header {name!r}")
    if found["ce_specversion"] != "1.0":
        raise _undecodable(message, f"its CloudEvents version is {shown(found['ce_specversion'])}, not '1.0'")
    try:
        time_of(found["ce_time"])
    except ValueError as error:
        raise _undecodable(message, f"header 'ce_time': {error}") from error
    if "ce_metadata" in found:
        try:
            for value in members(found["ce_metadata"]).values():
                msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _undecodable(message, f"header 'ce_metadata' is no JSON object: {error}") from error
    if "ce_dataschemaversion" not in found:
        return 1
    schema_version = number_of(found["ce_dataschemaversion"])
    if not schema_version:
        raise _undecodable(message, _no_number("ce_dataschemaversion", found["ce_dataschemaversion"]))
    return schema_version


def _no_number(name: str, value: Raw) -> str:
    return f"it has no header {name!r}" if not value else f"header {name!r} is {shown(value)}, not a number from 1"


def _undecodable(message: Message, reason: str) -> UndecodableEvent:
    return UndecodableEvent(
        f"the message with key {shown(message.key)} on {shown(message.topic)} is no event of eventkit: {reason}"
    )
