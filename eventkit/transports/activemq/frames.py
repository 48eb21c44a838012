"""STOMP 1.2 frames as bytes: many of them go out in one write, not one by one as the client does."""

from collections.abc import Mapping


def frame(command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a frame's bytes. A body wants its `content-length` among the headers: it may have zeros in it."""
    lines = [command, *(f"{name}:{escaped(value)}" for name, value in headers.items())]
    return "\n".join(lines).encode() + b"\n\n" + body + b"\0"


def escaped(value: str) -> str:
    """Return a header's value as it stands in a frame."""
    return value.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")
