"""Array literals of PostgreSQL, for thousands of values at once.

The driver processes every item of a list several times, in Python; for numbers and text one join is enough. The
statement casts: `%s::bigint[]`.
"""

from collections.abc import Iterable


def plain_array(values: Iterable[object]) -> str:
    """Write values whose text needs no quotes, such as numbers and UUIDs; None is null."""
    return "{" + ",".join(["null" if value is None else str(value) for value in values]) + "}"


def text_array(values: Iterable[str | None]) -> str:
    """Write texts; None is null."""
    values = list(values)
    texts = [value for value in values if value is not None]
    if len(texts) == len(values) and not _special("".join(texts)):
        return '{"' + '","'.join(texts) + '"}' if texts else "{}"
    return "{" + ",".join(["null" if value is None else _quoted(value) for value in values]) + "}"


def _special(text: str) -> bool:
    return '"' in text or "\\" in text


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
