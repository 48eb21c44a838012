"""Reads AMQP messages, including properties that the client cannot decode; and stops reading for a full buffer.

pika raises within its loop for properties without a Python value (a date after the year 9999, an invalid decimal, deep
tables). Its connection would end, and the broker would deliver the same message again without end.
"""

import struct
from typing import Any

import pika
from pika import frame, spec

from eventkit.domain.message import Headers, Message
from eventkit.transports.rabbitmq.topology import KEY
from eventkit.transports.received import received, unreadable

_UNDECODED = "eventkit-undecoded"  # in place of a message's properties: their bytes
_FRAME, _CONTENT = struct.Struct(">BHL"), struct.Struct(">HHQ")  # a frame's and a content header's beginnings


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
            return frame.decode_frame(self._frame_buffer)  # type: ignore[no-any-return]
        except Exception:
            found = _header_frame(bytes(self._frame_buffer))
            if found is None:
                raise
            return found


def _header_frame(data: bytes) -> tuple[int, Any] | None:
    """Return a header frame with its properties undecoded, and its length; None for another kind of frame."""
    kind, channel, size = _FRAME.unpack_from(data)
    if kind != spec.FRAME_HEADER:
        return None
    content = data[_FRAME.size : _FRAME.size + size]
    _, _, body_size = _CONTENT.unpack_from(content)
    properties = spec.BasicProperties(headers={_UNDECODED: content[_CONTENT.size :]})
    return _FRAME.size + size + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)


def message_of(topic: str, properties: Any, body: bytes, tag: Any) -> Message:  # noqa: ANN401 pika has no types
    """Return the message of a delivery."""
    table: dict[Any, Any] = properties.headers or {}
    if _UNDECODED in table:
        return unreadable(topic, "its AMQP properties cannot be read", value=body, others=table.items(), tag=tag)
    key = table.get(KEY)
    headers: Headers = [
        (name, value)
        for name, value in table.items()
        if isinstance(value, str | bytes) and isinstance(name, str) and name != KEY
    ]
    if isinstance(key, str) and len(headers) == len(table) - 1:
        return Message(topic, key, body, headers, tag)
    # the broker adds numbers, such as x-delivery-count
    return received(topic, key, body, [(name, value) for name, value in table.items() if name != KEY], tag)
