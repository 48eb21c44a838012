"""Array literals of PostgreSQL, for thousands of values at once.

The driver processes every item of a list several times, in Python; for numbers and text one join is enough. The
statement casts: `%s::bigint[]`.

There is no null in these arrays: a caller's session with `array_nulls = off` reads it as the text `null`. A statement
has a value that stands for it, such as an empty text, or a second array that says which values are null.
"""

from collections.abc import Iterable
from uuid import UUID


def plain_array(values: Iterable[float | str | UUID]) -> str:
    """Write values whose text needs no quotes, such as numbers and UUIDs."""
    return "{" + ",".join(map(str, values)) + "}"


def text_array(values: Iterable[str]) -> str:
    """Write texts."""
    texts = list(values)
    if not _special("".join(texts)):
        return '{"' + '","'.join(texts) + '"}' if texts else "{}"
    return "{" + ",".join(map(_quoted, texts)) + "}"


def bytes_array(values: Iterable[bytes]) -> str:
    """Write bytes; the driver would double each backslash in a session without `standard_conforming_strings`."""
    return text_array(map(bytes_text, values))


def bytes_text(value: bytes) -> str:
    """Write one value of type bytea."""
    return "\\x" + bytes(value).hex()


def _special(text: str) -> bool:
    return '"' in text or "\\" in text


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
