"""Message headers as one JSON object, for a broker with few headers or none."""

from typing import Any

import msgspec

from eventkit.domain.json_members import members
from eventkit.domain.message import Headers, Message

_QUOTES = 4  # of a header: two around its name, two around its value


def headers_as_json(message: Message) -> bytes:
    """Return a message's headers as a JSON object."""
    return _encode({name: value if isinstance(value, str) else value.decode() for name, value in message.headers})


def headers_from_json(text: bytes | str) -> Headers:
    """Return the headers in a JSON object of texts and nulls, each name once; ValueError for any other text."""
    try:
        found = _decode(text)
        quotes = text.count('"') if isinstance(text, str) else text.count(b'"')
        if quotes != _QUOTES * len(found) or None in found.values():  # another number: `members` looks
            members(text)
        return list(found.items())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"its headers are no JSON object of texts: {error}") from None


def value_as_bytes(message: Message) -> bytes:
    """Return a message's value as it is sent."""
    value = message.value
    return value.encode() if isinstance(value, str) else value


_encode = msgspec.json.Encoder().encode
_decode: Any = msgspec.json.Decoder(dict[str, str | None]).decode
