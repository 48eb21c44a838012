"""Encodes STOMP 1.2 frames as bytes, so that many are sent in one write; the client sends one by one."""

from collections.abc import Mapping


def frame(command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a frame's bytes; the headers must have the body's `content-length`, since a body may contain zeros."""
    lines = [command, *(f"{name}:{escaped(value)}" for name, value in headers.items())]
    return "\n".join(lines).encode() + b"\n\n" + body + b"\0"


def escaped(value: str) -> str:
    """Return a header's value, escaped for a frame."""
    return value.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")
