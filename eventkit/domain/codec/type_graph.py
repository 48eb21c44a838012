"""The types in an event's class, found once, when it is registered.

Types that JSON cannot hold, or that decoding could not distinguish, raise CatalogError with the field's path.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import inspect

from eventkit.domain.functions import name_of_class
from eventkit.domain.stream import StreamId
from eventkit.errors import CatalogError

_UNTYPED = (inspect.AnyType, inspect.CustomType)
_REFUSED = (inspect.RawType, inspect.ExtType)
_SETS = (inspect.SetType, inspect.FrozenSetType)
_SORTED = (
    inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BytesType, inspect.DecimalType, inspect.UUIDType,
    inspect.DateType,
)  # fmt: skip
_KEYLESS = (
    inspect.BoolType, inspect.NoneType, inspect.ListType, inspect.VarTupleType, inspect.TupleType, inspect.DictType,
    inspect.SetType, inspect.FrozenSetType, inspect.DataclassType, inspect.StructType, inspect.TypedDictType,
    inspect.NamedTupleType,
)  # fmt: skip
# Beside one of these, the floats `1e16` and `10000000000000000` are decoded as different types. An enum may be an int.
_NUMBERS = {inspect.IntType, inspect.DecimalType, inspect.EnumType, inspect.LiteralType}
_INNER = ("type", "item_type", "key_type", "value_type")
_SEVERAL = ("fields", "item_types", "types")


class Shape(NamedTuple):
    """The properties of a class that the codec depends on."""

    exact: bool  # `==` compares every field; otherwise the codec compares them
    loose: bool  # a number in it may be decoded as an int or as a float
    sets: bool  # it has sets whose items can be sorted
    ordered: bool  # the order of an object's keys counts in a comparison


def is_pydantic(cls: Any) -> bool:
    """Return whether a class is a Pydantic model (version 2)."""
    return isinstance(cls, type) and hasattr(cls, "model_validate_json") and hasattr(cls, "model_dump_json")


def shape_of(cls: type) -> Shape:
    """Inspect a dataclass or Struct; raise CatalogError, which names the field, if JSON cannot hold one."""
    try:
        nodes = list(_nodes(inspect.type_info(cls), cls.__name__))
    except TypeError as error:
        raise CatalogError(f"{cls.__name__} could not be read back from JSON: {error}") from error
    for node, path in nodes:
        _check(node, path)
    return Shape(
        exact=all(_compares_every_field(node.cls) for node, _ in nodes if hasattr(node, "cls")),
        loose=any(isinstance(node, _UNTYPED) or _is_int_or_float(node) for node, _ in nodes),
        sets=any(isinstance(node, _SETS) and isinstance(node.item_type, _SORTED) for node, _ in nodes),
        ordered=any(
            OrderedDict in _records(node.cls, set()) for node, _ in nodes if is_pydantic(getattr(node, "cls", None))
        ),
    )


def shape_of_model(cls: Any) -> Shape:
    """Inspect a Pydantic model; the effect of its validators and serializers is not known."""
    records = list(_records(cls, set()))
    exact = all(map(_compares_every_field, records))
    return Shape(exact=exact, loose=True, sets=False, ordered=OrderedDict in records)


def _records(hint: Any, seen: set[Any]) -> Iterator[type]:
    """Yield a class and the records in its fields; also OrderedDict."""
    if OrderedDict in (hint, get_origin(hint)):
        yield OrderedDict
    if is_pydantic(hint):
        inner = [field.annotation for field in hint.model_fields.values()]
    elif isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, msgspec.Struct)):
        inner = [field.type for field in (_fields(hint) if is_dataclass(hint) else msgspec.structs.fields(hint))]
    else:  # the arguments of `Annotated` may be anything, also instances of dataclasses
        for part in get_args(hint):
            yield from _records(part, seen)
        return
    if hint not in seen:
        seen.add(hint)
        yield hint
        for part in inner:
            yield from _records(part, seen)


def classes_in(cls: type) -> list[type]:
    """Return a class and the classes in its fields, each once."""
    found = (getattr(node, "cls", None) for node, _ in _nodes(inspect.type_info(cls), cls.__name__))
    return list(dict.fromkeys(part for part in found if isinstance(part, type)))


def _nodes(node: Any, path: str, seen: frozenset[type] = frozenset()) -> Iterator[tuple[Any, str]]:
    """Yield a type and all types in it, each with the path of its field."""
    cls = getattr(node, "cls", None)
    if cls in seen:
        return
    yield node, path
    seen |= {cls} if cls else set()
    inner = [getattr(node, name, None) for name in _INNER]
    inner += [part for name in _SEVERAL for part in getattr(node, name, ())]
    for part in inner:
        if isinstance(part, inspect.Field):
            yield from _nodes(part.type, f"{path}.{part.name}", seen)
        elif isinstance(part, inspect.Type):
            yield from _nodes(part, path, seen)


def _check(node: Any, path: str) -> None:
    if isinstance(node, inspect.DictType) and isinstance(node.key_type, _KEYLESS):
        kind = type(node.key_type).__name__.removesuffix("Type").lower()
        raise CatalogError(f"{path} is a dict whose keys are of the type {kind}, but keys of JSON are text: use str")
    if isinstance(node, _REFUSED):
        raise CatalogError(f"{path} is raw data, whose text PostgreSQL would change: declare its type")
    if isinstance(node, inspect.CustomType) and node.cls is not StreamId and not is_pydantic(node.cls):
        name = name_of_class(node.cls)
        raise CatalogError(f"{path} has the type {name}, which JSON cannot hold: declare one that it can, such as str")


def _is_int_or_float(node: Any) -> bool:
    kinds = {type(part) for part in node.types} if isinstance(node, inspect.UnionType) else set()
    return inspect.FloatType in kinds and bool(_NUMBERS & kinds)


def _compares_every_field(cls: Any) -> bool:
    if not isinstance(cls, type):  # a parametrised generic: Money[int]
        cls = getattr(cls, "__origin__", cls)
    if issubclass(cls, msgspec.Struct):
        return bool(cls.__struct_config__.eq) and cls.__eq__ is msgspec.Struct.__eq__
    if is_dataclass(cls):
        code = getattr(cls.__eq__, "__code__", None)  # code that the decorator generates has no file
        return code is not None and code.co_filename == "<string>" and all(field.compare for field in _fields(cls))
    return not is_pydantic(cls) or cls.__eq__.__module__.startswith("pydantic.")


def _fields(cls: Any) -> Iterator[Any]:
    yield from cls.__dataclass_fields__.values()
