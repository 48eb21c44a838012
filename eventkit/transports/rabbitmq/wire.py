"""Reads and writes AMQP messages; tolerates properties that the client cannot decode; stops reading for a full buffer.

By CloudEvents' binding, an attribute is an application property `cloudEvents:<name>`, its content type AMQP's own, and
the key the subject.

pika raises within its loop for properties without a Python value (a date after the year 9999, an invalid decimal, deep
tables). Its connection would end, and the broker would deliver the same message again without end.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pika
from pika import data as amqp
from pika import frame, spec

from eventkit.domain.message import JSON_TYPE, Message
from eventkit.domain.structured import opened
from eventkit.transports.rabbitmq.topology import KEY
from eventkit.transports.received import received, unreadable

_PREFIX = "cloudEvents:"  # of an attribute among the application properties
_PREFIXES = (_PREFIX, "cloudEvents_", "ce-")  # also read: for clients without colons, and of the SDK for AMQP 0-9-1
_SUBJECTS = tuple(f"{prefix}subject" for prefix in _PREFIXES)
_SUBJECT = _SUBJECTS[0]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE_INDEX = 6  # of the content type among the headers of eventkit's messages
_TEXT = {str}
_SHORT = 255  # bytes of an AMQP property
_PERSISTENT = 2
_UNDECODED = "eventkit-undecoded"  # in place of a message's properties: their bytes
_FRAME, _CONTENT = struct.Struct(">BHL"), struct.Struct(">HHQ")  # a frame's and a content header's beginnings
_PROPERTIES_START = _FRAME.size + _CONTENT.size
_SIZE = struct.Struct(">L")
_ENTRY = 6  # bytes of a text in a table besides its name and value: two lengths and its type


class TolerantConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that stays open when a message's properties cannot be decoded, and that can stop reading.

    While it does not read, the broker waits with its messages. Heartbeats go on: this side sends its own, and the
    broker's wait in the socket. AMQP has a command for it, `channel.flow`, which RabbitMQ refuses.
    """

    _is_paused = False
    _received = 0

    @property
    def bytes_received(self) -> int:
        """Return a number that rises while the broker may be alive; pika compares it to find a lost connection."""
        self._received += self._is_paused
        return self._received

    @bytes_received.setter
    def bytes_received(self, number: int) -> None:
        self._received = number

    def pause_reading(self) -> None:
        """Stop reading, after at most 100 KB that are on their way to the callbacks; on the connection's thread."""
        if not self._is_paused:
            self._is_paused = True
            self._watch_socket()

    def resume_reading(self) -> None:
        """Read again; on the connection's thread."""
        if self._is_paused:
            self._is_paused = False
            self._received += 1  # a check that began during the pause finds a sign of life
            self._watch_socket()

    def _watch_socket(self) -> None:
        """Watch the socket unless reading is paused.

        With TLS the client also reads without an event of the socket, and then by the transport's method.
        """
        transport = self._transport
        if transport is None or not self.is_open:
            return
        transport._on_socket_readable = self._read_unless_paused  # noqa: SLF001 pika has no other way to it
        number = transport._sock.fileno()  # noqa: SLF001
        if self._is_paused:
            self._nbio.remove_reader(number)
        else:
            self._nbio.set_reader(number, self._read_unless_paused)
            self.ioloop.add_callback_threadsafe(self._read_unless_paused)  # TLS may have data of before

    def _read_unless_paused(self) -> None:
        transport = self._transport
        if transport is not None and not self._is_paused:
            type(transport)._on_socket_readable(transport)  # noqa: SLF001

    def _read_frame(self) -> tuple[int, Any]:
        try:
            length, found = frame.decode_frame(self._frame_buffer)
            if type(found) is frame.Header and found.properties.headers:
                _refuse_repeated(self._frame_buffer[_PROPERTIES_START:length], found.properties.headers)
        except Exception:
            undecoded = _header_frame(bytes(self._frame_buffer))
            if undecoded is None:
                raise
            return undecoded
        return length, found


def _header_frame(data: bytes) -> tuple[int, Any] | None:
    """Return a header frame with its properties undecoded, and its length; None for another kind of frame."""
    kind, channel, size = _FRAME.unpack_from(data)
    if kind != spec.FRAME_HEADER:
        return None
    content = data[_FRAME.size : _FRAME.size + size]
    _, _, body_size = _CONTENT.unpack_from(content)
    properties = spec.BasicProperties(headers={_UNDECODED: content[_CONTENT.size :]})
    return _FRAME.size + size + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)


def _refuse_repeated(properties: bytes, table: Mapping[Any, Any]) -> None:
    """Raise ValueError if the bytes of properties name a header twice: the client keeps the last one in `table`.

    A table of ASCII texts is compared by its size, which takes a microsecond.
    """
    start = _start_of_table(properties)
    (size,) = _SIZE.unpack_from(properties, start)
    try:
        if sum(map(len, table)) + sum(map(len, table.values())) + _ENTRY * len(table) == size:
            return
    except TypeError:  # a number
        pass
    count, place, end = 0, start + _SIZE.size, start + _SIZE.size + size
    while place < end:
        _, place = amqp.decode_short_string(properties, place)
        _, place = amqp.decode_value(properties, place)
        count += 1
    if count != len(table):
        raise ValueError("a header is there twice")


def _start_of_table(properties: bytes) -> int:
    """Return where the table of headers begins: behind the flags, the content type and the content encoding."""
    place, flags = 0, 1
    first = int.from_bytes(properties[:2])
    while flags & 1:  # another word of flags follows
        flags = int.from_bytes(properties[place : place + 2])
        place += 2
    for flag in (spec.BasicProperties.FLAG_CONTENT_TYPE, spec.BasicProperties.FLAG_CONTENT_ENCODING):
        if first & flag:
            place += 1 + properties[place]
    return place


def properties_of(message: Message) -> pika.BasicProperties:
    """Return the properties of a message that is sent, by CloudEvents' binding for AMQP; its key is the subject."""
    table: dict[str, str | bytes] = {_SUBJECT: message.key} if message.key else {}
    content_type = None
    for name, value in message.headers:
        if name == "content-type" and len(value) <= _SHORT:
            content_type = value if isinstance(value, str) else value.decode()
        else:
            table[_property_name(name)] = value
    return pika.BasicProperties(headers=table, content_type=content_type, delivery_mode=_PERSISTENT)


def message_of(topic: str, properties: Any, body: bytes, tag: Any) -> Message:  # noqa: ANN401 pika has no types
    """Return the message of a delivery, in either of CloudEvents' content modes."""
    table: dict[Any, Any] = properties.headers or {}
    if _UNDECODED in table:
        reason = "its AMQP properties cannot be read, or name a header twice"
        return unreadable(topic, reason, value=body, others=table.items(), tag=tag)
    subjects = [name for name in _SUBJECTS if name in table]
    if len(subjects) > 1 and KEY not in table:
        return unreadable(topic, "its subject is there twice", value=body, others=table.items(), tag=tag)
    key_name = KEY if KEY in table else "".join(subjects)
    content_type, key = properties.content_type, table.get(key_name, "")
    is_text = set(map(type, table.values())) <= _TEXT
    parts = [
        (_header_name(name), value if is_text else _as_text(name, value))
        for name, value in table.items()
        if name != key_name
    ]
    if content_type is not None:
        parts.insert(_TYPE_INDEX, ("content-type", content_type))
    # The usual message: eventkit's own, in binary mode and without a schema's frame.
    if is_text and key and content_type == JSON_TYPE and body[:1] == b"{":
        return Message(topic, key, body, parts, tag)
    return opened(received(topic, key, body, parts, tag))  # the broker adds tables, such as x-death


@lru_cache(10_000)  # the names are few, and this is called for each
def _property_name(name: str) -> str:
    """Return the name of the property that holds a header."""
    return f"{_PREFIX}{name[3:]}" if name.startswith("ce_") else name


@lru_cache(10_000)
def _header_name(name: Any) -> Any:  # noqa: ANN401 a table's name may be of any type
    """Return the name of a header as Kafka's binding has it, by which the domain reads."""
    return f"ce_{found}" if (found := _attribute(name)) else name


def _attribute(name: Any) -> str:  # noqa: ANN401 see above
    """Return the name of the attribute that a property holds; empty if it holds none."""
    if not isinstance(name, str):
        return ""
    return next((name[len(prefix) :] for prefix in _PREFIXES if name.startswith(prefix)), "")


def _as_text(name: Any, value: Any) -> Any:  # noqa: ANN401 see above
    """Return an attribute of a native type of AMQP in CloudEvents' text form; other values are unchanged."""
    if isinstance(value, str | bytes) or not _attribute(name):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return _time_of(value) if _attribute(name) == "time" else str(value)
    return _time(value) if isinstance(value, datetime) else value


def _time_of(milliseconds: int) -> str:
    """Return a time of AMQP 1.0; one that is not in the years 1 to 9999 as its number, which is refused as a time."""
    try:
        return _time(_EPOCH + timedelta(milliseconds=milliseconds))
    except OverflowError:
        return str(milliseconds)


def _time(at: datetime) -> str:
    return f"{at.isoformat()}Z" if at.tzinfo is None else at.isoformat()
