"""The reason why an event is refused, as a sentence: the field's path, its value and the error.

It is called only for wrong or unusual events, so it may be slow: it walks the event and the decoded copy.
"""

import math
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from eventkit.domain.functions import name_of_class

_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_LINK = re.compile(r"For further information visit \S+")
_MAX_SHOWN = 120  # characters


def shown(value: object) -> str:
    """Return a value's repr, cut after 120 characters."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__qualname__}, whose repr fails: {error}>"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def reason(event: object, error: Exception, encode: Callable[[Any], bytes]) -> str:
    """Return why an event could not be encoded and decoded, given the exception that was raised."""
    name = type(event).__name__
    fault = forbidden(event, encode)
    if fault:
        return f"{name}: {fault}"
    value, found = _follow(event, str(error))
    return f"{name}: {sentence(error)}" + (
        f", which holds {shown(value)}" if found else f"; the event is {shown(event)}"
    )


def sentence(error: Exception) -> str:
    """Return an exception's message in one line, without Pydantic's links."""
    return " ".join(_LINK.sub("", str(error)).split())


def forbidden(value: Any, encode: Callable[[Any], bytes]) -> str | None:
    """Return a sentence about the first value that cannot be stored; None if there is none."""
    return _first(value, _Forbidden(encode))


def not_finite(value: Any) -> str | None:
    """Return a sentence about the first NaN or infinity; None if there is none."""
    return _first(value, _NotFinite())


class _NotFinite:
    """Find NaN and infinity."""

    def within(self, value: Any) -> "_NotFinite":  # noqa: ARG002 the same check for all parts
        return self

    def problem(self, value: Any) -> str | None:
        if isinstance(value, float | Decimal) and not _is_finite(value):
            return "JSON has no such number; use None, or text"
        return None


class _Forbidden(_NotFinite):
    """Find values that cannot be stored; Pydantic encodes the parts of its models, `encode` all others."""

    def __init__(self, encode: Callable[[Any], bytes] | None) -> None:
        self._encode = encode

    def within(self, value: Any) -> "_Forbidden":
        return _BY_PYDANTIC if hasattr(type(value), "model_dump_json") else self

    def problem(self, value: Any) -> str | None:
        if value is msgspec.UNSET:
            return None
        known = _no_text(value) if isinstance(value, str) else super().problem(value)
        return known or (_unencodable(value, self._encode) if self._encode else None)


_BY_PYDANTIC = _Forbidden(None)


def _first(value: Any, check: _NotFinite, path: str = "") -> str | None:
    try:
        parts = list(_parts(value))
        within = check.within(value)
        for step, part in parts:
            fault = _first(part, within, path + step)
            if fault:
                return fault
    except RecursionError:
        return f"{_at(path[:_MAX_SHOWN])} is nested too deeply, or holds itself"
    problem = check.problem(value) if not parts else None
    return f"{_at(path)} holds {shown(value)}: {problem}" if problem else None


def _no_text(value: str) -> str | None:
    if "\x00" in value:
        return "PostgreSQL cannot keep a NUL character in text"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate at {error.start} is no character"
    return None


def _is_finite(number: float | Decimal) -> bool:
    return number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)


def _unencodable(value: Any, encode: Callable[[Any], bytes]) -> str | None:
    try:
        encode(value)
    except NotImplementedError:
        way = next((f" with .{name}()" for name in ("tolist", "to_pydatetime") if hasattr(value, name)), "")
        return f"JSON has no {name_of_class(type(value))}: make it a plain Python value{way}"
    except Exception as error:  # noqa: BLE001 - a foreign type may raise anything
        return sentence(error)
    return None


def difference(value: Any, back: Any, path: str = "") -> str | None:
    """Return a sentence about the first field whose decoded value differs, with both values; None if all are equal."""
    if not _same_kind(value, back):
        return _differs(value, back, path)
    if isinstance(value, set | frozenset):
        return _set_difference(value, back, path)
    ours, theirs = dict(_parts(value)), dict(_parts(back))
    if isinstance(back, OrderedDict) and list(ours) != list(theirs):
        return _differs(value, back, path)
    if ours and ours.keys() == theirs.keys():
        return next((fault for step in ours if (fault := difference(ours[step], theirs[step], path + step))), None)
    return None if _same(value, back) else _differs(value, back, path)


def _same_kind(value: Any, back: Any) -> bool:
    if _is_record(value):
        return type(value) is type(back)
    return isinstance(value, type(back)) or (type(value) is int and type(back) is float)


def _same(value: Any, back: Any) -> bool:
    if isinstance(value, datetime) and value.tzinfo and back.tzinfo:
        # `==` is never true between zones in the repeated hour at the end of summer time, so the instants are compared
        return bool(value.astimezone(UTC) == back.astimezone(UTC))
    return bool(value == back)


def _is_record(value: Any) -> bool:
    return is_dataclass(value) or isinstance(value, msgspec.Struct) or hasattr(type(value), "model_dump_json")


def _set_difference(value: Any, back: Any, path: str) -> str | None:
    given = {item: item for item in value}
    if value != back:
        return _differs(value, back, path)
    return next((fault for item in back if (fault := difference(given[item], item, f"{path}[…]"))), None)


def _differs(value: object, back: object, path: str) -> str:
    given = f"{shown(value)} ({type(value).__qualname__})"
    return f"{_at(path)} holds {given}, which would be read back as {shown(back)} ({type(back).__qualname__})"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the direct parts of a value, each with its step in a path."""
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
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))


def _at(path: str) -> str:
    return f"field {path.removeprefix('.')!r}" if path else "the event"


def _follow(event: Any, message: str) -> tuple[Any, bool]:
    """Return the value that msgspec's path, as in "… - at `$.lines[0].price`", leads to."""
    _, found, path = message.rpartition("`$")
    value = event
    for name, index in _STEP.findall(path.rstrip("`")) if found else ():
        try:
            value = value[name or int(index)] if index or isinstance(value, dict) else getattr(value, name)
        except (AttributeError, LookupError, TypeError):
            return None, False
    return value, bool(found)
