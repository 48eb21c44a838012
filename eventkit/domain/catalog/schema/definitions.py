"""Definitions of JSON Schemas that several schemas share: their names, and the references to them."""

import json
from collections.abc import Collection, Iterator
from itertools import chain, count
from typing import Any

Schema = dict[str, Any]
_REF = "#/$defs/"
_ONE = ("items", "additionalProperties", "additionalItems", "propertyNames", "contains", "not", "contentSchema")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems", "items")
_BY_NAME = ("properties", "patternProperties", "$defs")


def parts_of(schema: Schema) -> Iterator[Schema]:
    """Yield the direct subschemas of a schema; not the values in its `default`, `enum`, `const` or `examples`."""
    inner: list[Any] = [schema.get(name) for name in _ONE]
    inner += [part for name in _LISTS if isinstance(schema.get(name), list) for part in schema[name]]
    inner += [part for name in _BY_NAME for part in schema.get(name, {}).values()]
    yield from (part for part in inner if isinstance(part, dict))


def all_parts(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and its subschemas at any depth, without following references."""
    yield schema
    for part in parts_of(schema):
        yield from all_parts(part)


def definition_of(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return the definition that a schema refers to, or the schema itself."""
    while "$ref" in schema:
        schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
    return schema


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return `wanted`, or if it is taken the first free one of `wanted_2`, `wanted_3` and so on."""
    numbered = (f"{wanted}_{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name not in taken)


class Definitions:
    """Definitions by name. Equal ones of several schemas become one; another one of the same name gets a number."""

    def __init__(self, ref: str = _REF) -> None:
        """Write references that begin with `ref`."""
        self.schemas: dict[str, Schema] = {}
        self._ref = ref
        self._names: dict[object, str] = {}

    def name(self, key: object, wanted: str) -> str:
        """Return the name of the definition that has this key, always the same; a free name like `wanted`."""
        if key not in self._names:
            self._names[key] = free_name(wanted, set(self._names.values()))
        return self._names[key]

    def add(self, schema: Schema) -> Schema:
        """Move a schema's `$defs` here; return the schema, which is changed and refers to them by their names here."""
        own: dict[str, Schema] = schema.pop("$defs", {})
        names = {name: self.name(_content(name, own), name) for name in own}
        new = {name for name in own if names[name] not in self.schemas}
        for root in (schema, *(own[name] for name in new)):
            for part in list(all_parts(root)):
                if "$ref" in part:
                    part["$ref"] = self._ref + names[part["$ref"].removeprefix(_REF)]
        self.schemas.update({names[name]: own[name] for name in new})
        return schema


def _content(name: str, definitions: dict[str, Schema]) -> str:
    """Return a definition, and all definitions that it depends on, as text."""
    found: dict[str, Schema] = {}
    missing = {name}
    while missing:
        name_of_one = missing.pop()
        found[name_of_one] = schema = definitions[name_of_one]
        missing |= {part["$ref"].removeprefix(_REF) for part in all_parts(schema) if "$ref" in part} - found.keys()
    return json.dumps([name, found], sort_keys=True)
