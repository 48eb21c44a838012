"""The message of a failing test: the scenario, then expected and actual side by side, with marked differences.

    |  differs     <  expected only     >  not expected

An event that is too long for its column is written with one field a line, so that the mark is at the field.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NoReturn

import msgspec

WIDTH = 54  # characters of a column: two columns fit into 120
_NOTHING = "(nothing)"


def check(expected: Sequence[Any], actual: Sequence[Any], *, story: Iterable[str], subject: str) -> None:
    """Raise an AssertionError that shows both, unless they are equal."""
    __tracebackhide__ = True
    if list(expected) != list(actual):
        fail(f"{subject} differ:", *side_by_side(expected, actual), story=story)


def fail(*lines: str, story: Iterable[str], cause: BaseException | None = None) -> NoReturn:
    """Raise an AssertionError with the story before the lines."""
    __tracebackhide__ = True
    raise AssertionError("\n".join(["", *story, "", *lines])) from cause


def side_by_side(expected: Sequence[Any], actual: Sequence[Any]) -> list[str]:
    """Return the lines of a table of two columns."""
    left, right = _column(expected), _column(actual)
    rows = [("expected", " ", "actual"), ("-" * WIDTH, " ", "-" * WIDTH), *_aligned(left, right)]
    return [f"  {one:<{WIDTH}} {mark} {other}".rstrip() for one, mark, other in rows]


def lines_of(value: Any, width: int = WIDTH) -> list[str]:
    """Return a value on one line, or with one part a line if it is too long."""
    text = value if isinstance(value, Line) else repr(value)
    parts = _parts(value)
    if len(text) <= width or parts is None:
        return [text[start : start + width] for start in range(0, len(text), width)]
    first, last, inner = parts
    lines = [first]
    for name, part in inner:
        head, *rest = lines_of(part, width - 2 - len(name) - 1)
        lines += [f"  {name}{head}", *(f"  {line}" for line in rest)]
        lines[-1] += ","
    return [*lines, last]


class Line(str):
    """Text that is shown without quotes."""

    __slots__ = ()


def _column(values: Sequence[Any]) -> list[str]:
    return [line for value in values for line in lines_of(value)] or [_NOTHING]


def _aligned(left: list[str], right: list[str]) -> Iterator[tuple[str, str, str]]:
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for one, other in zip_longest(left[a:b], right[c:d]):
            mark = " " if kind == "equal" else "<" if other is None else ">" if one is None else "|"
            yield one or "", mark, other or ""


def _parts(value: Any) -> tuple[str, str, list[tuple[str, Any]]] | None:
    """Return the begin and end of a value's repr, and its parts with their prefixes; None if it has no parts."""
    name = type(value).__qualname__
    if is_dataclass(value):
        return f"{name}(", ")", [(f"{field.name}=", getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, msgspec.Struct):
        return f"{name}(", ")", [(f"{field}=", getattr(value, field)) for field in value.__struct_fields__]
    if isinstance(value, Mapping):
        return "{", "}", [(f"{key!r}: ", part) for key, part in value.items()]
    if isinstance(value, list | tuple) and value:
        return ("[", "]", [("", part) for part in value]) if isinstance(value, list) else _tuple(value)
    if hasattr(value, "model_dump_json"):  # Pydantic's
        return f"{name}(", ")", [(f"{field}=", part) for field, part in value]
    return None


def _tuple(value: tuple[Any, ...]) -> tuple[str, str, list[tuple[str, Any]]]:
    return "(", ")", [("", part) for part in value]
