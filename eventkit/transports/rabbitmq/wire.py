"""Reads AMQP messages, including properties that the client cannot decode.

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
    """A connection that stays open when a message's properties cannot be decoded."""

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
