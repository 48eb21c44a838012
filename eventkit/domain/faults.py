"""Why an event was refused: the field's path, the value in it and what is wrong, as a sentence.

Only called when something is wrong or unusual, so it may be slow: it walks the event, and what came back beside it.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_SHOWN = 120


def shown(value: object) -> str:
    """Return a value's repr, cut short, with its type where that is the news."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - somebody else's __repr__
        text = f"<{type(value).__qualname__}, whose repr fails: {error}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def reason(event: object, error: Exception, encode: Callable[[Any], bytes]) -> str:
    """Say why an event could not be encoded and decoded back, given the exception that it raised."""
    name = type(event).__name__
    fault = forbidden(event, encode)
    if fault:
        return f"{name}: {fault}"
    value, found = _follow(event, str(error))
    return f"{name}: {error}" + (f", which holds {shown(value)}" if found else f"; the event is {shown(event)}")


def forbidden(value: Any, encode: Callable[[Any], bytes], path: str = "") -> str | None:
    """Find the first value that must not or cannot be written, and say which."""
    try:
        parts = list(_parts(value))
        for step, part in parts:
            fault = forbidden(part, encode, path + step)
            if fault:
                return fault
    except RecursionError:
        return f"{_at(path[:_SHOWN])} is nested too deeply, or holds itself"
    problem = _problem(value, encode) if not parts else None
    return f"{_at(path)} holds {shown(value)}: {problem}" if problem else None


def _problem(value: Any, encode: Callable[[Any], bytes]) -> str | None:
    if isinstance(value, str):
        return _text_problem(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "JSON has no such number; use None, or text"
    if isinstance(value, Decimal) and not value.is_finite():
        return "JSON has no such number; use None, or text"
    try:
        encode(value)
    except Exception as error:  # noqa: BLE001 - whatever a foreign type raises is its reason
        return f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON ({error})"
    return None


def _text_problem(text: str) -> str | None:
    if "\x00" in text:
        return "PostgreSQL cannot keep a NUL character in text"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate at {error.start} is no character"
    return None


def difference(value: Any, back: Any, path: str = "") -> str | None:
    """Find the first place where what comes back is not what was given, and say both."""
    if isinstance(value, datetime) and isinstance(back, datetime) and value.tzinfo and back.tzinfo:
        # `==` is never true between zones in the repeated hour at the end of summer time; the instant is what counts
        return None if value.astimezone(UTC) == back.astimezone(UTC) else _differs(value, back, path)
    if isinstance(value, int) and not isinstance(value, bool) and type(back) is float:
        return None if value == back else _differs(value, back, path)
    if not isinstance(value, type(back)):
        return _differs(value, back, path)
    if isinstance(value, set | frozenset):
        return _set_difference(value, back, path)
    ours, theirs = dict(_parts(value)), dict(_parts(back))
    if ours.keys() != theirs.keys():
        return _differs(value, back, path)
    if ours:
        return next((fault for step in ours if (fault := difference(ours[step], theirs[step], path + step))), None)
    return None if value == back else _differs(value, back, path)


def _set_difference(value: Any, back: Any, path: str) -> str | None:
    given = {item: item for item in value}
    if value != back:
        return _differs(value, back, path)
    return next((fault for item in back if (fault := difference(given[item], item, f"{path}[…]"))), None)


def _differs(value: Any, back: Any, path: str) -> str:
    return f"{_at(path)} holds {shown(value)} ({type(value).__qualname__}), which would be read back as {shown(back)} ({type(back).__qualname__})"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Go through the direct parts of a value, each with the step that leads to it."""
    if isinstance(value, type):
        return
    if is_dataclass(value):
        yield from ((f".{field.name}", getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, msgspec.Struct):
        yield from ((f".{name}", getattr(value, name)) for name in value.__struct_fields__)
    elif hasattr(type(value), "model_dump_json"):
        yield from ((f".{name}", part) for name, part in value)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{shown(key)}]", part
            yield f"[key {shown(key)}]", key
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))


def _at(path: str) -> str:
    return f"field {path.removeprefix('.')!r}" if path else "the event"


def _follow(event: Any, message: str) -> tuple[Any, bool]:
    """Return the value that msgspec's path, as in "… - at `$.lines[0].price`", leads to."""
    _, found, path = message.rpartition("`$")
    value = event
    for name, index in _STEP.findall(path.rstrip("`")) if found else ():
        try:
            value = getattr(value, name) if name else value[int(index)]
        except (AttributeError, LookupError, TypeError):
            return None, False
    return value, bool(found)
