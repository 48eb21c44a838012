"""A catalog in JSON: its types, versions, topics and the JSON Schema of each type's data, to keep with a release.

`compatibility.py` compares two exports. An export holds only properties that readers and writers of events depend on.
"""

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.catalog.event_type import EventType
from eventkit.domain.codec import is_pydantic
from eventkit.domain.stream import StreamId
from eventkit.errors import ConfigurationError

FORMAT = 1
# JSON Schema's `format` date-time requires a time zone, as RFC 3339 does, so naive times get a pattern instead.
_CLOCK = r"\d{2}:\d{2}:\d{2}(\.\d+)?"
_ZONE = {None: r"(Z|[+-]\d{2}:\d{2})?", False: ""}
_TIMES = {inspect.DateTimeType: r"^\d{4}-\d{2}-\d{2}T", inspect.TimeType: "^"}


class TypeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One event type; a writer may leave out the fields in `omitted`; `personal` maps fields to their subject."""

    source: str
    name: str
    version: int
    oldest: int = 1
    renamed_from: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()
    personal: dict[str, str] = {}
    data: dict[str, Any]  # JSON Schema

    @property
    def names(self) -> tuple[str, ...]:
        """All names that events of this type may have been stored under."""
        return (self.name, *self.renamed_from)


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog."""

    format: int = FORMAT
    catalog: str
    topics: dict[str, str | None]  # by category, if it is not `<catalog>.<category>`; None: no broker
    published: bool = True
    types: tuple[TypeDescription, ...]

    def topic(self, category: str) -> str | None:
        """Return the topic of a category, None if its events go to no broker."""
        return self.topics.get(category, f"{self.catalog}.{category}") if self.published else None

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


def describe(catalog: Catalog) -> Description:
    """Return the description of a catalog; raise CatalogError if it cannot read its old events."""
    catalog.check()
    types = sorted(catalog.types, key=lambda kind: (kind.source != catalog.name, kind.source, kind.name))
    return Description(
        catalog=catalog.name,
        topics={**catalog.topics, **dict.fromkeys(sorted(catalog.unpublished))},
        published=catalog.published,
        types=tuple(_type(catalog, kind) for kind in types),
    )


def description_of(text: str | bytes, *, where: str) -> Description:
    """Return the description in a text of `to_json`; raise ConfigurationError, which names `where`, if it is none."""
    try:
        found = msgspec.json.decode(text, type=Description)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ConfigurationError(f"{where} is no description by `eventkit catalog export`: {error}") from error
    if found.format != FORMAT:
        raise ConfigurationError(f"{where} has the format {found.format}, this eventkit reads {FORMAT}")
    return found


def _type(catalog: Catalog, kind: EventType) -> TypeDescription:
    return TypeDescription(
        source=kind.source,
        name=kind.name,
        version=kind.version,
        oldest=kind.oldest,
        renamed_from=kind.renamed_from,
        omitted=_omitted(kind.cls),
        personal={field.name: field.whose for field in catalog.personal_fields(kind.cls)},
        data=_schema(kind.cls),
    )


def _schema(cls: Any) -> dict[str, Any]:
    if is_pydantic(cls):
        return _of_model(cls)
    schema = msgspec.json.schema(cls, schema_hook=_foreign)
    _name_times(inspect.type_info(cls), schema, schema, set())
    return schema


def _name_times(info: Any, schema: Any, root: dict[str, Any], seen: set[int]) -> None:
    """Add a pattern to the times in a schema: msgspec writes a format only for times that need a time zone."""
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(schema, dict) or id(schema) in seen:
        return
    seen.add(id(schema))
    if type(info) in _TIMES and "format" not in schema:
        schema["pattern"] = _pattern(type(info), info.tz)
    for part, sub in _parts(info, schema):
        _name_times(part, sub, root, seen)


def _parts(info: Any, schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield a type's parts, each with its schema."""
    for place, field in enumerate(getattr(info, "fields", ())):
        fields = schema.get("properties", {})
        yield field.type, fields[field.encode_name] if field.encode_name in fields else schema["prefixItems"][place]
    yield from zip(getattr(info, "types", ()), schema.get("anyOf", ()), strict=False)
    yield from zip(getattr(info, "item_types", ()), schema.get("prefixItems", ()), strict=False)
    for inner, name in (("item_type", "items"), ("value_type", "additionalProperties")):
        if hasattr(info, inner) and name in schema:
            yield getattr(info, inner), schema[name]


def _foreign(cls: Any) -> dict[str, Any]:
    if cls is StreamId:
        return {"type": "string"}
    return _of_model(cls)


def _pattern(kind: type[inspect.Type], tz: bool | None) -> str:  # noqa: FBT001 as msgspec has it
    return f"{_TIMES[kind]}{_CLOCK}{_ZONE[tz]}$"


def _of_model(cls: Any) -> dict[str, Any]:
    """Return a Pydantic model's schema; the module of the model has imported Pydantic."""
    generator = sys.modules["pydantic.json_schema"].GenerateJsonSchema

    class Schema(generator):  # type: ignore[misc, valid-type]
        """Write times as `_name_times` does."""

        def datetime_schema(self, schema: Any) -> dict[str, Any]:
            return self._time(super().datetime_schema(schema), inspect.DateTimeType, schema)

        def time_schema(self, schema: Any) -> dict[str, Any]:
            return self._time(super().time_schema(schema), inspect.TimeType, schema)

        @staticmethod
        def _time(found: dict[str, Any], kind: type[inspect.Type], schema: Any) -> dict[str, Any]:
            wanted = schema.get("tz_constraint")
            if wanted is None or wanted == "naive":
                del found["format"]
                found["pattern"] = _pattern(kind, None if wanted is None else False)
            return found

    found: dict[str, Any] = cls.model_json_schema(schema_generator=Schema)
    return found


def _omitted(cls: Any) -> tuple[str, ...]:
    if not issubclass(cls, msgspec.Struct):
        return ()
    fields = msgspec.structs.fields(cls)
    if cls.__struct_config__.omit_defaults:
        return tuple(field.encode_name for field in fields if not field.required)
    return tuple(field.encode_name for field in fields if field.default is msgspec.UNSET)
