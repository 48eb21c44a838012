"""Builds messages from untrusted parts: an unreadable delivery becomes a message with the reason.

Every writer of a topic may write anything, so nothing here raises. An unreadable message keeps its bytes: the body as
its value, the other parts among its headers.
"""

from collections.abc import Iterable
from typing import Any

from eventkit.domain.message import Headers, Message

HEADER_PREFIX = "ce_"  # of the headers that eventkit reads


def received(topic: str, key: Any, value: Any, headers: Iterable[tuple[Any, Any]], tag: Any) -> Message:  # noqa: ANN401
    """Return a message made of parts of any type."""
    readable, other = _split(headers)
    body = _as_bytes(value)
    faults = [
        f"its {name} is {type(part).__name__}, no text"
        for name, part in (("key", key), *((f"header {header!r}", part) for header, part in other if _is_read(header)))
        if not (part is None or _is_text(part))
    ]
    if not isinstance(value, str | bytes | bytearray | memoryview | None):
        faults.append(f"its value is {type(value).__name__}, neither bytes nor text")
    if not faults:
        return Message(topic, key or "", body, readable, tag)
    return unreadable(topic, faults[0], key=key, value=body, others=[*readable, *other], tag=tag)


def unreadable(
    topic: str,
    reason: str,
    *,
    key: object = b"",
    value: bytes = b"",
    others: Iterable[tuple[object, object]] = (),
    tag: Any,  # noqa: ANN401 a transport's own
) -> Message:
    """Return a message for an unreadable delivery, with its reason and all its parts."""
    headers: Headers = [(as_text(name), as_text(part)) for name, part in others if part is not None]
    return Message(topic, as_text(key), value, headers, tag, reason)


def as_text(part: object) -> str:
    """Return any part as text that PostgreSQL can store; bytes outside UTF-8 as escape codes."""
    if isinstance(part, str):
        return part.encode(errors="backslashreplace").decode()
    if isinstance(part, bytes):
        return part.decode(errors="backslashreplace")
    return "" if part is None else repr(part).encode(errors="backslashreplace").decode()


def _split(headers: Iterable[tuple[Any, Any]]) -> tuple[Headers, list[tuple[Any, Any]]]:
    """Return the headers that are text, and the others: a broker adds numbers and tables."""
    readable: Headers = []
    other: list[tuple[Any, Any]] = []
    for name, value in headers:
        plain = isinstance(name, str) and (isinstance(value, bytes) or (_is_text(value) and _is_text(name)))
        (readable if plain else other).append((name, value))
    return readable, other


def _is_text(part: object) -> bool:
    if not isinstance(part, str):
        return False
    try:
        return part.isascii() or bool(part.encode())
    except UnicodeEncodeError:  # lone surrogates
        return False


def _is_read(name: object) -> bool:
    return isinstance(name, str) and name.startswith(HEADER_PREFIX)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace")
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else as_text(value).encode()
