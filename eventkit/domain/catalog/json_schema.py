"""Check that a reader with one JSON Schema accepts all data of a writer with another; each problem is a sentence.

It handles the part of JSON Schema that msgspec and Pydantic generate. A case that it cannot decide counts as a problem,
because a false alarm costs a minute, and a missed one costs data.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import eq, ge, le
from typing import Any, NamedTuple

from eventkit.domain.codec import MEMBER

Schema = dict[str, Any]
_ANNOTATIONS = {"title", "description", "default", "examples", "$defs", "deprecated"}
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
# A reader's constraints, each with the relation that the writer's constraint must have to it.
_CONSTRAINTS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": ge,
    "exclusiveMinimum": ge,
    "minLength": ge,
    "minItems": ge,
    "minProperties": ge,
    "maximum": le,
    "exclusiveMaximum": le,
    "maxLength": le,
    "maxItems": le,
    "maxProperties": le,
    "pattern": eq,
    "multipleOf": eq,
    "format": eq,
    "contentEncoding": eq,
    "uniqueItems": eq,
}
_TRIVIAL = {"minItems": 0, "minLength": 0, "minProperties": 0}


class Node(NamedTuple):
    """A schema, and the root that holds the definitions of its references."""

    schema: Schema
    root: Schema

    def sub(self, schema: Schema) -> "Node":
        return Node(schema, self.root)

    def resolved(self) -> Schema:
        schema = self.schema
        while "$ref" in schema:
            schema = self.root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
        return schema

    def alternatives(self) -> list["Node"]:
        """Return the schemas of which one must hold."""
        schema = self.resolved()
        several = schema.get("anyOf") or schema.get("oneOf")
        if several:
            return [alternative for part in several for alternative in self.sub(part).alternatives()]
        if isinstance(schema.get("type"), list):
            return [self.sub({**schema, "type": name}) for name in schema["type"]]
        return [self.sub(schema)]


def problems(reader: Schema, writer: Schema, *, omitted: Iterable[str] | None = None) -> list[str]:
    """Return a sentence for each value that a writer may write and a reader does not accept.

    The writer writes every field except those in `omitted`; if that is None, only the fields that its schema requires.
    """
    return list(_problems(Node(reader, reader), Node(writer, writer), "", _Comparison(omitted, frozenset())))


class _Comparison(NamedTuple):
    omitted: Iterable[str] | None
    seen: frozenset[tuple[int, int]]

    def sure(self, writer: Schema, path: str) -> set[str]:
        if self.omitted is None:
            return set(writer.get("required", ()))
        return set(writer.get("properties", ())) - (set(self.omitted) if not path else set())


def _problems(reader: Node, writer: Node, path: str, state: _Comparison) -> Iterator[str]:
    pair = (id(reader.resolved()), id(writer.resolved()))
    if pair in state.seen:
        return
    state = state._replace(seen=state.seen | {pair})
    takers = reader.alternatives()
    for alternative in writer.alternatives():
        found = [list(_of_one(taker, alternative, path, state)) for taker in takers]
        if all(found):
            alike = [one for taker, one in zip(takers, found, strict=True) if _kind(taker) == _kind(alternative)]
            yield from alike[0] if len(alike) == 1 else [_mismatch(takers, alternative, path)]


def _of_one(reader: Node, writer: Node, path: str, state: _Comparison) -> Iterator[str]:
    wanted, given = reader.schema, writer.schema
    if not wanted.keys() - _ANNOTATIONS:
        return
    if "enum" in wanted or "const" in wanted:
        yield from _of_choice(_values(wanted), given, path)
    elif not _fits(_kind(reader), writer):
        yield _mismatch([reader], writer, path)
    else:
        yield from _of_constraints(wanted, given, path)
        yield from _of_object(reader, writer, path, state)
        yield from _of_array(reader, writer, path, state)


def _of_choice(values: list[Any], given: Schema, path: str) -> Iterator[str]:
    if "enum" not in given and "const" not in given:
        yield f"{_at(path)} may hold more than {_listed(values)}"
    elif more := [value for value in _values(given) if value not in values]:
        yield f"{_at(path)} may hold {_listed(more)}, beside {_listed(values)}"


def _of_constraints(wanted: Schema, given: Schema, path: str) -> Iterator[str]:
    if "enum" in given or "const" in given:
        return
    for name, holds in _CONSTRAINTS.items():
        if name in wanted and wanted[name] != _TRIVIAL.get(name):
            other = given.get(name)
            if other is None or not holds(other, wanted[name]):
                yield f"{_at(path)} must have {name} {wanted[name]!r}, but is written with {other!r}"


def _of_object(reader: Node, writer: Node, path: str, state: _Comparison) -> Iterator[str]:
    wanted, given = reader.schema.get("properties", {}), writer.schema.get("properties", {})
    sure = state.sure(writer.schema, path)
    for name in reader.schema.get("required", ()):
        if name not in sure:
            yield f"{_at(_below(path, name))} is required, but may be missing"
    others = reader.schema.get("additionalProperties", True)
    for name, schema in given.items():
        if name == MEMBER:  # every class reads an event without it
            continue
        taker = wanted.get(name, others)
        if taker is False:
            yield f"{_at(_below(path, name))} is unknown, and unknown fields are forbidden"
        elif taker is not True:
            yield from _problems(reader.sub(taker), writer.sub(schema), _below(path, name), state)
    more = writer.schema.get("additionalProperties")
    if isinstance(others, dict) and isinstance(more, dict):
        yield from _problems(reader.sub(others), writer.sub(more), f"{path}[…]", state)


def _of_array(reader: Node, writer: Node, path: str, state: _Comparison) -> Iterator[str]:
    wanted, given = _items(reader.schema), _items(writer.schema)
    for place in range(max(len(wanted), len(given))):
        taker, item = wanted[min(place, len(wanted) - 1)], given[min(place, len(given) - 1)]
        if isinstance(taker, dict) and isinstance(item, dict):
            yield from _problems(reader.sub(taker), writer.sub(item), f"{path}[{place}]", state)


def _items(schema: Schema) -> list[Any]:
    """Return the schemas of a list's first items, and the schema of all further items."""
    items = schema.get("items", True)
    if isinstance(items, list):  # draft 7
        return [*items, schema.get("additionalItems", True)]
    return [*schema.get("prefixItems", ()), items]


def _kind(node: Node) -> str:
    schema = node.schema
    if "type" in schema:
        return str(schema["type"])
    if "enum" in schema or "const" in schema:
        return _TYPES.get(type(_values(schema)[0]), "any")
    return "any"


def _fits(wanted: str, writer: Node) -> bool:
    if "enum" in writer.schema or "const" in writer.schema:
        kinds = {_TYPES.get(type(value), "any") for value in _values(writer.schema)}
    else:
        kinds = {_kind(writer)}
    return kinds <= {wanted} or (wanted == "number" and kinds <= {"number", "integer"})


def _values(schema: Schema) -> list[Any]:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]]


def _mismatch(takers: list[Node], given: Node, path: str) -> str:
    wanted = " or ".join(dict.fromkeys(map(_said, takers)))
    return f"{_at(path)} may hold {_said(given)}, where {wanted} is taken"


def _said(node: Node) -> str:
    schema = node.schema
    if "enum" in schema or "const" in schema:
        return _listed(_values(schema))
    names = {"any": "anything", "null": "null", "integer": "an integer", "array": "a list", "object": "an object"}
    name = names.get(_kind(node), f"a {_kind(node)}")
    return f"{name} ({schema['format']})" if "format" in schema else name


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str) -> str:
    return f"field {path!r}" if path else "the data"
