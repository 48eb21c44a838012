"""Message headers as one JSON object, for a broker with few headers or none."""

from typing import Any

import msgspec

from eventkit.domain.message import Headers, Message


def headers_as_json(message: Message) -> bytes:
    """Return a message's headers as a JSON object."""
    return _encode({name: value if isinstance(value, str) else value.decode() for name, value in message.headers})


def headers_from_json(text: bytes | str) -> Headers:
    """Return the headers in a JSON object; ValueError for another text, or for values other than text and null."""
    try:
        return list(_decode(text).items())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"its headers are no JSON object of texts: {error}") from None


def value_as_bytes(message: Message) -> bytes:
    """Return a message's value as it is sent."""
    value = message.value
    return value.encode() if isinstance(value, str) else value


_encode = msgspec.json.Encoder().encode
_decode: Any = msgspec.json.Decoder(dict[str, str | None]).decode
