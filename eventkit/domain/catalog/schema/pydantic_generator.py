"""Pydantic's generator of JSON Schemas, corrected where a value may be sent that Pydantic's own schema excludes.

These are times without a zone, signed durations, URLs by the WHATWG's rules, combined flags, bytes with a length, JSON
kept as text, functions that serialize to an undeclared type. Computed fields are not sent. This is the only module that
imports Pydantic; `models` loads it for the first model.
"""

import enum
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from eventkit.domain.catalog.schema.definitions import Schema
from eventkit.domain.catalog.schema.text_formats import DURATION, time_pattern


class Generator(GenerateJsonSchema):
    """Generate the schema of JSON as the codec writes it."""

    def datetime_schema(self, schema: Any) -> Schema:
        return _timed(super().datetime_schema(schema), "date-time", schema.get("tz_constraint"))

    def time_schema(self, schema: Any) -> Schema:
        return _timed(super().time_schema(schema), "time", schema.get("tz_constraint"))

    def timedelta_schema(self, schema: Any) -> Schema:
        found = super().timedelta_schema(schema)
        return {"type": "string", "pattern": DURATION} if found.get("format") == "duration" else found

    def url_schema(self, schema: Any) -> Schema:
        return {key: value for key, value in super().url_schema(schema).items() if key != "format"}

    def bytes_schema(self, schema: Any) -> Schema:
        found = super().bytes_schema(schema)
        return {key: value for key, value in found.items() if not key.endswith("Length")}

    def enum_schema(self, schema: Any) -> Schema:
        found = super().enum_schema(schema)
        if issubclass(schema["cls"], enum.Flag):
            return {**{key: value for key, value in found.items() if key != "enum"}, "type": "integer"}
        return found

    def json_schema(self, schema: Any) -> Schema:  # noqa: ARG002 Pydantic's signature
        return {"type": "string", "contentMediaType": "application/json"}

    def model_fields_schema(self, schema: Any) -> Schema:
        return super().model_fields_schema(schema | {"computed_fields": []})

    def dataclass_args_schema(self, schema: Any) -> Schema:
        return super().dataclass_args_schema(schema | {"computed_fields": []})

    def ser_schema(self, schema: Any) -> Schema | None:
        by_user = not getattr(schema.get("function"), "__module__", "pydantic").startswith("pydantic")
        if by_user and schema["type"].startswith("function-") and schema.get("return_schema") is None:
            return {}
        return super().ser_schema(schema)


def _timed(found: Schema, kind: str, constraint: Any) -> Schema:
    if "format" not in found or constraint not in (None, "naive"):
        return found
    return {"type": "string", "pattern": time_pattern(kind, zoned=None if constraint is None else False)}
