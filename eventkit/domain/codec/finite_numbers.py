"""Checks for numbers that JSON does not have (NaN, infinity), built once for each class from its types.

A check reads only fields that can hold such a number. Searching an event's text would miss some: Pydantic reads a float
from `" -inf "`, from `1e400` and from texts with escapes, and msgspec reads a Decimal from them.
"""

import datetime as dt
import enum
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import msgspec

from eventkit.domain.codec import validation_errors
from eventkit.domain.codec.type_graph import is_pydantic

Check = Callable[[Any], bool]
"""Returns whether all numbers in a value are finite."""

_PLAIN = {
    str, int, bool, bytes, bytearray, NoneType, uuid.UUID, dt.date, dt.datetime, dt.time, dt.timedelta,
    msgspec.UnsetType,
}  # fmt: skip
_LISTS = {list, set, frozenset, deque, Sequence, MutableSequence, Collection, AbstractSet}
_MAPPINGS = {dict, Mapping, MutableMapping}


def check_of(hint: Any, *, floats: bool, seen: frozenset[Any] = frozenset()) -> Check | None:
    """Return the check of a type; None if it cannot hold NaN or infinity. msgspec itself refuses them as `float`s."""
    if hint is Decimal:
        return Decimal.is_finite
    if _is_plain(hint) or (hint in (Any, float) and not floats):
        return None
    if hint is float:
        return isfinite
    if isinstance(hint, NewType):
        return check_of(hint.__supertype__, floats=floats, seen=seen)
    if isinstance(hint, type) and get_origin(hint) is None:
        return _walk if hint in seen else _check_of_record(hint, floats=floats, seen=seen | {hint})
    return _check_of_parts(get_origin(hint), get_args(hint), floats=floats, seen=seen)


def _is_plain(hint: Any) -> bool:
    return get_origin(hint) is Literal or (
        isinstance(hint, type) and (hint in _PLAIN or (issubclass(hint, enum.Enum) and get_origin(hint) is None))
    )


def _check_of_parts(origin: Any, args: tuple[Any, ...], *, floats: bool, seen: frozenset[Any]) -> Check | None:
    if origin is Annotated:
        return check_of(args[0], floats=floats, seen=seen)
    if origin is tuple and args[1:] == (...,):
        origin, args = list, args[:1]
    checks = [check_of(arg, floats=floats, seen=seen) for arg in args]
    wanted = [check for check in checks if check is not None]
    if args and not wanted:
        return None
    if origin in _LISTS and len(wanted) == 1:
        return _each(wanted[0])
    if origin in _MAPPINGS and checks[0] is None:
        return _each_value(wanted[0])
    if origin in (Union, UnionType) and len(wanted) == 1 and len(args) == len({*args} & {NoneType}) + 1:
        return _optional(wanted[0])
    return _walk


def _check_of_record(cls: Any, *, floats: bool, seen: frozenset[Any]) -> Check | None:
    floats = floats or is_pydantic(cls)
    hints = dict(_hints(cls))
    if not hints or (is_pydantic(cls) and cls.model_config.get("extra") == "allow"):
        return _walk
    checks = {name: check_of(hint, floats=floats, seen=seen) for name, hint in hints.items()}
    fields = [(name, check) for name, check in checks.items() if check is not None]
    return _fields(fields) if fields else None


def _hints(cls: Any) -> Iterator[tuple[str, Any]]:
    if is_pydantic(cls):
        yield from ((name, field.annotation) for name, field in cls.model_fields.items())
    elif hasattr(cls, "__dataclass_fields__") or issubclass(cls, msgspec.Struct):
        known = cls.__dataclass_fields__ if hasattr(cls, "__dataclass_fields__") else cls.__struct_fields__
        yield from ((name, hint) for name, hint in get_type_hints(cls).items() if name in known)


def _each(check: Check) -> Check:
    return lambda values: all(map(check, values))


def _each_value(check: Check) -> Check:
    return lambda values: all(map(check, values.values()))


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _fields(fields: list[tuple[str, Check]]) -> Check:
    def check_all(record: Any) -> bool:
        for name, check in fields:  # noqa: SIM110 twice as fast as a generator
            if not check(getattr(record, name)):
                return False
        return True

    return check_all


def _walk(value: Any) -> bool:
    """Check a value of any type."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is float:
        return isfinite(value)
    if kind is list or kind is tuple:
        return all(map(_walk, value))
    if kind is dict:
        return all(map(_walk, value)) and all(map(_walk, value.values()))
    return validation_errors.not_finite(value) is None
