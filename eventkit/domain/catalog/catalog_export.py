"""A catalog in JSON: its types, versions, topics and the JSON Schema of each type's data, to keep with a release.

`compatibility.py` compares two exports. An export holds only properties that readers and writers of events depend on.
"""

from typing import Any

import msgspec

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.catalog.event_type import EventType
from eventkit.domain.catalog.schema import schema_of
from eventkit.errors import ConfigurationError

FORMAT = 1


class TypeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One event type; a writer may leave out the fields in `omitted`; `personal` maps fields to their subject.

    With a `category`, its events are recorded in streams of that category alone.
    """

    source: str
    name: str
    version: int
    oldest: int = 1
    renamed_from: tuple[str, ...] = ()
    category: str | None = None
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
        category=kind.category,
        omitted=_omitted(kind.cls),
        personal={field.name: field.whose for field in catalog.personal_fields(kind.cls)},
        data=schema_of(kind.cls, personal=catalog.is_personal(kind.cls)),
    )


def _omitted(cls: Any) -> tuple[str, ...]:
    if not issubclass(cls, msgspec.Struct):
        return ()
    fields = msgspec.structs.fields(cls)
    if cls.__struct_config__.omit_defaults:
        return tuple(field.encode_name for field in fields if not field.required)
    return tuple(field.encode_name for field in fields if field.default is msgspec.UNSET)
