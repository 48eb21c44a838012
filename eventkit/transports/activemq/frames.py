"""Encodes STOMP 1.2 frames as bytes, so that many are sent in one write; the client sends one by one.

ActiveMQ ends the connection at a header of more than 10 KB, and an event's metadata may have 60 KB. So a long text is
split over several headers: `name`, `name-2`, `name-3` and so on.
"""

from collections.abc import Iterator, Mapping
from itertools import count, takewhile

_MAX_PART = 2_000  # characters, of 4 bytes each at most


def frame(command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a frame's bytes; the headers must have the body's `content-length`, since a body may contain zeros."""
    lines = [command, *(f"{name}:{escaped(value)}" for name, value in headers.items())]
    return "\n".join(lines).encode() + b"\n\n" + body + b"\0"


def escaped(value: str) -> str:
    """Return a header's value, escaped for a frame."""
    return value.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")


def split(name: str, text: str) -> dict[str, str]:
    """Return a text as the values of one header or more."""
    if len(text) <= _MAX_PART:
        return {name: text}
    parts = (text[start : start + _MAX_PART] for start in range(0, len(text), _MAX_PART))
    return dict(zip(_names(name), parts, strict=False))


def joined(name: str, headers: Mapping[str, str]) -> str:
    """Return a text that `split` has split; raise KeyError if it is not there."""
    if f"{name}-2" not in headers:
        return headers[name]
    return headers[name] + "".join(headers[each] for each in takewhile(headers.__contains__, _names(name, 2)))


def _names(name: str, first: int = 1) -> Iterator[str]:
    return (f"{name}-{number}" if number > 1 else name for number in count(first))
