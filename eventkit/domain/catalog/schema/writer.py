"""The JSON Schema (draft 2020-12) of an event's data, as it is stored and sent.

Every event that the codec has written is valid under the schema of its class. The schema depends on the class alone,
not on the release of msgspec. A constraint that other validators check in another way is left out.
"""

import enum
import inspect as python
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from eventkit.domain.catalog.schema.definitions import Definitions, Schema, definition_of
from eventkit.domain.catalog.schema.models import reference_to_model, schema_of_model
from eventkit.domain.catalog.schema.text_formats import DURATION, portable, time_pattern
from eventkit.domain.codec import MEMBER, encode_value, is_pydantic
from eventkit.domain.stream import StreamId

_MEMBER_SCHEMA: Schema = {"type": "object", "description": "Encrypted personal values, by subject."}
_NOT_IN_A_NAME = re.compile(r"\W+")  # generators of types take a dot for a module
_PLAIN: dict[type[inspect.Type], Schema] = {
    inspect.AnyType: {},
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.DateType: {"type": "string", "format": "date"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
    inspect.DecimalType: {"type": "string", "format": "decimal"},
    inspect.TimeDeltaType: {"type": "string", "pattern": DURATION},
}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_SETS = (inspect.SetType, inspect.FrozenSetType)


def schema_of(cls: Any, *, personal: bool = False) -> Schema:
    """Return the schema of a class of events; with `personal`, it has the member of encrypted values."""
    schema = _named_schema(cls)
    if personal:
        definition_of(schema, schema.get("$defs", {}))["properties"][MEMBER] = dict(_MEMBER_SCHEMA)
    return schema


def _named_schema(cls: Any) -> Schema:
    if is_pydantic(cls):
        return schema_of_model(cls)
    writer = _Writer()
    schema = writer.of(inspect.type_info(cls))
    return {**schema, "$defs": writer.definitions.schemas}


class _Writer:
    """Writes the schemas of msgspec's types; those of records and enums become definitions."""

    def __init__(self) -> None:
        self.definitions = Definitions()

    def of(self, node: Any) -> Schema:
        """Return the schema of a type, with the user's additions."""
        extra: Schema = {}
        while isinstance(node, inspect.Metadata):
            extra = {**(node.extra_json_schema or {}), **extra}
            node = node.type
        return self._of_plain(node) | extra

    def _of_plain(self, node: Any) -> Schema:
        if type(node) in _PLAIN:
            return dict(_PLAIN[type(node)])
        write = _SCALARS.get(type(node))
        return self._of_container(node) if write is None else write(node)

    def _of_container(self, node: Any) -> Schema:
        if isinstance(node, inspect.UnionType):
            return {"anyOf": [self.of(part) for part in node.types]}
        if isinstance(node, inspect.TupleType):
            return _array([self.of(item) for item in node.item_types], required=len(node.item_types))
        if hasattr(node, "key_type"):
            return self._mapping(node)
        if hasattr(node, "item_type"):
            unique = {"uniqueItems": True} if isinstance(node, _SETS) else {}
            return {
                "type": "array",
                **_unless_any("items", self.of(node.item_type)),
                **_lengths(node, "Items"),
                **unique,
            }
        return self._named(node)

    def _mapping(self, node: Any) -> Schema:
        keys = self.of(node.key_type) if _is_text(node.key_type) else {}
        keys.pop("type", None)  # a name is text
        values = self.of(node.value_type)
        return {
            "type": "object",
            **_unless_any("propertyNames", keys),
            **_unless_any("additionalProperties", values),
            **_lengths(node, "Properties"),
        }

    def _named(self, node: Any) -> Schema:
        if node.cls is StreamId:
            return {"type": "string"}
        if is_pydantic(node.cls):
            return self.definitions.add(reference_to_model(node.cls))
        title = _title(node.cls)
        name = self.definitions.name(node.cls, _NOT_IN_A_NAME.sub("_", title))
        if name not in self.definitions.schemas:
            schema = self.definitions.schemas[name] = {"title": title, **_description(node.cls)}
            schema.update(_enum(node.cls) if isinstance(node, inspect.EnumType) else self._record(node))
        return {"$ref": f"#/$defs/{name}"}

    def _record(self, node: Any) -> Schema:
        fields = {field.encode_name: self._field(field) for field in node.fields}
        required = [field.encode_name for field in node.fields if field.required]
        if getattr(node, "tag_field", None) is not None:
            fields = {node.tag_field: {"const": node.tag}, **fields}
            required.insert(0, node.tag_field)
        closed = getattr(node, "forbid_unknown_fields", False)
        if isinstance(node, inspect.NamedTupleType):
            return _array(list(fields.values()), required=len(required))
        if getattr(node, "array_like", False):
            needed = max((nth for nth, name in enumerate(fields, 1) if name in required), default=0)
            return _array(list(fields.values()), required=needed, closed=closed)
        additional = {"additionalProperties": False} if closed else {}
        return {"type": "object", "properties": fields, "required": required, **additional}

    def _field(self, field: Any) -> Schema:
        schema = self.of(field.type)
        if field.default is not msgspec.NODEFAULT:
            return {**schema, **_default(field.default)}
        if field.default_factory in (list, dict, set):
            return {**schema, **_default(field.default_factory())}
        return schema


def _time(kind: str, zoned: Any) -> Schema:
    return {"type": "string", **({"format": kind} if zoned else {"pattern": time_pattern(kind, zoned=zoned)})}


def _number(node: Any) -> Schema:
    schema: Schema = {"type": "integer" if isinstance(node, inspect.IntType) else "number"}
    schema.update({name: limit for bound, name in _BOUNDS.items() if (limit := getattr(node, bound)) is not None})
    if node.multiple_of is not None and node.multiple_of == int(node.multiple_of):  # 0.3 / 0.1 is no integer
        schema["multipleOf"] = node.multiple_of
    return schema


def _text(node: Any) -> Schema:
    pattern = {"pattern": node.pattern} if node.pattern is not None and portable(node.pattern) else {}
    return {"type": "string", **_lengths(node, "Length"), **pattern}


def _bytes(node: Any) -> Schema:
    return {"type": "string", "contentEncoding": "base64", **_lengths(node, "Length", _base64_length)}


def _literal(node: Any) -> Schema:
    return {"enum": sorted(node.values, key=lambda value: (type(value).__name__, str(value)))}


def _lengths(node: Any, of: str, length: Any = int) -> Schema:
    limits = {f"min{of}": node.min_length, f"max{of}": node.max_length}
    return {name: length(limit) for name, limit in limits.items() if limit is not None}


def _base64_length(size: int) -> int:
    return 4 * ((size + 2) // 3)


def _array(items: list[Schema], *, required: int, closed: bool = True) -> Schema:
    """Return the schema of an array with these first items; no others if it is closed."""
    more = {"items": False, "maxItems": len(items)} if closed else {}
    return {"type": "array", **({"prefixItems": items} if items else {}), "minItems": required, **more}


def _enum(cls: Any) -> Schema:
    if issubclass(cls, enum.Flag):  # combinations have values of their own
        return {"type": "integer"}
    return {"enum": sorted({member.value for member in cls.__members__.values()})}


def _is_text(key: Any) -> bool:
    while isinstance(key, inspect.Metadata):
        key = key.type
    if isinstance(key, inspect.EnumType):
        return all(isinstance(member.value, str) for member in key.cls)
    if isinstance(key, inspect.LiteralType):
        return all(isinstance(value, str) for value in key.values)
    return isinstance(key, inspect.StrType)


def _unless_any(name: str, schema: Schema) -> Schema:
    return {name: schema} if schema else {}


def _default(value: Any) -> Schema:
    try:
        return {"default": msgspec.json.decode(encode_value(value))}
    except (TypeError, ValueError, NotImplementedError):  # an annotation only: a value that JSON does not have
        return {}


def _title(cls: Any) -> str:
    """Return the name of a class, also of a generic one: `Box[int]`."""
    if not hasattr(cls, "__origin__"):
        return str(cls.__name__)
    arguments = ", ".join(part.__name__ if isinstance(part, type) else repr(part) for part in cls.__args__)
    return f"{cls.__origin__.__name__}[{arguments}]"


def _description(cls: Any) -> Schema:
    """Return the class's own docstring; the one that Python generates for a dataclass or an enum says nothing."""
    cls = getattr(cls, "__origin__", cls)
    text = python.cleandoc(cls.__dict__.get("__doc__") or "")
    generated = not text or text.startswith(f"{cls.__name__}(") or text == "An enumeration."
    return {} if generated else {"description": text}


_SCALARS: dict[type[inspect.Type], Callable[[Any], Schema]] = {
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.StrType: _text,
    inspect.BytesType: _bytes,
    inspect.ByteArrayType: _bytes,
    inspect.MemoryViewType: _bytes,
    inspect.DateTimeType: lambda node: _time("date-time", node.tz),
    inspect.TimeType: lambda node: _time("time", node.tz),
    inspect.LiteralType: _literal,
}
