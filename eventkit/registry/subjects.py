"""The subjects of event types, and the JSON Schema that is registered for each.

A record's name is `<catalog>.<type>`: the schema's title, and the subject by Confluent's RecordNameStrategy. By
TopicRecordNameStrategy the subject is `<topic>-<catalog>.<type>`. The keyword `x-dataschemaversion` is the event's
schema version: by it a relay, which has none of the service's code, finds the schema of an old event, too.

The dialect is draft 7, the newest one that registries compare: Apicurio answers 500 for draft 2020-12.
"""

import json
from enum import StrEnum
from typing import Any, NamedTuple

from eventkit.domain.catalog import Description, TypeDescription
from eventkit.errors import CatalogError

VERSION_KEYWORD = "x-dataschemaversion"
_DIALECT = "http://json-schema.org/draft-07/schema#"


class SubjectNames(StrEnum):
    """How subjects are named."""

    RECORD = "record"
    TOPIC_RECORD = "topic-record"

    def subject(self, topic: str, source: str, event_type: str) -> str:
        """Return the subject of an event type on a topic."""
        record = record_name(source, event_type)
        return record if self is SubjectNames.RECORD else f"{topic}-{record}"


class PlannedSchema(NamedTuple):
    """A schema that is to be registered."""

    subject: str
    kind: TypeDescription
    schema: dict[str, Any]

    @property
    def text(self) -> str:
        """The schema in JSON."""
        return json.dumps(self.schema, ensure_ascii=False)


def record_name(source: str, event_type: str) -> str:
    """Return the name of an event type among those of all services."""
    return f"{source}.{event_type}"


def planned_schemas(description: Description, names: SubjectNames) -> list[PlannedSchema]:
    """Return the schemas of a catalog's own types that go to a broker.

    Raise CatalogError where a subject needs an unknown topic.
    """
    return [
        PlannedSchema(subject, kind, registered_schema(kind))
        for kind in description.types
        if kind.source == description.catalog and (subject := _subject(description, kind, names)) is not None
    ]


def registered_schema(kind: TypeDescription) -> dict[str, Any]:
    """Return the JSON Schema of a type's data, without a reference at its root: readers know its title from there."""
    schema = dict(kind.data)
    parts = dict(schema.pop("$defs", {}))
    root = schema.get("$ref", "").rpartition("/")[2]
    if root in parts:
        schema = dict(parts[root])
        if f"#/$defs/{root}" not in json.dumps(parts):
            del parts[root]
    schema |= {"$schema": _DIALECT, "title": record_name(kind.source, kind.name), VERSION_KEYWORD: kind.version}
    found: dict[str, Any] = _in_draft_7({**schema, **({"$defs": parts} if parts else {})})
    return found


def schema_version_in(schema: dict[str, Any]) -> int:
    """Return the schema version that a registered schema names; 1 if it names none."""
    version = schema.get(VERSION_KEYWORD, 1)
    return version if type(version) is int else 0


def _in_draft_7(part: Any) -> Any:  # noqa: ANN401 any part of a schema
    """Return a part of a schema as draft 7 writes it, where a list with types by place has another form."""
    if isinstance(part, list):
        return [_in_draft_7(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _in_draft_7(each) for name, each in part.items()}
    if isinstance(found.get("prefixItems"), list):
        others = {"additionalItems": found["items"]} if "items" in found else {}
        found = {**found, "items": found.pop("prefixItems"), **others}
    return found


def _subject(description: Description, kind: TypeDescription, names: SubjectNames) -> str | None:
    """Return a type's subject; None if its events go to no broker."""
    if kind.category is None:
        if names is SubjectNames.TOPIC_RECORD and description.published:
            raise CatalogError(
                f"{kind.name} has no category, so the topic of its events is not known, and the topic is a part of the "
                f'subject: register it with @catalog.event(category="..."), or name subjects by {SubjectNames.RECORD}'
            )
        return names.subject("", kind.source, kind.name) if description.published else None
    topic = description.topic(kind.category)
    return None if topic is None else names.subject(topic, kind.source, kind.name)
