"""A message for a broker whose own headers are few or none: its headers are one JSON object, its value is bytes."""

from typing import Any

import msgspec

from eventkit.domain.message import Headers, Message


def headers_as_json(message: Message) -> bytes:
    """Return a message's headers as a JSON object."""
    return _encode({name: value if isinstance(value, str) else value.decode() for name, value in message.headers})


def headers_from_json(text: bytes | str) -> Headers:
    """Return the headers that a JSON object has; ValueError where it is none, or holds more than text and null."""
    try:
        return list(_decode(text).items())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"its headers are no JSON object of texts: {error}") from None


def value_as_bytes(message: Message) -> bytes:
    """Return what a message says, as it is sent."""
    value = message.value
    return value.encode() if isinstance(value, str) else value


_encode = msgspec.json.Encoder().encode
_decode: Any = msgspec.json.Decoder(dict[str, str | None]).decode
