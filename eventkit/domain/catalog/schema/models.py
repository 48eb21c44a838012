"""The JSON Schema of a Pydantic model, as the codec writes it; `pydantic_generator` generates it."""

import importlib
import re
from typing import Any

from eventkit.domain.catalog.schema.definitions import Schema, all_parts, definition_of
from eventkit.domain.catalog.schema.text_formats import portable

_GENERATOR = f"{__package__}.pydantic_generator"  # it imports Pydantic, as the model has


def schema_of_model(cls: Any) -> Schema:
    """Return the schema of a model; it is a reference where the model holds itself."""
    generator = importlib.import_module(_GENERATOR)
    schema: Schema = cls.model_json_schema(mode="serialization", schema_generator=generator.Generator)
    definitions = schema.get("$defs", {})
    for part in list(all_parts(schema)):
        _correct(part, definitions)
    return schema


def reference_to_model(cls: Any) -> Schema:
    """Return the schema of a model as a reference into its definitions."""
    schema = schema_of_model(cls)
    definitions = schema.pop("$defs", {})
    if "$ref" not in schema:
        name = re.sub(r"\W", "_", cls.__name__)
        while name in definitions:
            name += "_"
        definitions[name], schema = schema, {"$ref": f"#/$defs/{name}"}
    return {**schema, "$defs": definitions}


def _correct(schema: Schema, definitions: dict[str, Schema]) -> None:
    """Leave out constraints that other validators check in another way, or of keys that are no text."""
    if "multipleOf" in schema and schema["multipleOf"] != int(schema["multipleOf"]):
        del schema["multipleOf"]
    if "pattern" in schema and not portable(schema["pattern"]):
        del schema["pattern"]
    for pattern in [one for one in schema.get("patternProperties", ()) if not portable(one)]:
        schema["additionalProperties"] = schema.pop("patternProperties")[pattern]  # Pydantic writes one pattern
    keys = definition_of(schema.get("propertyNames", {}), definitions)
    if any(not isinstance(value, str) for value in keys.get("enum", ())) or keys.get("type", "string") != "string":
        del schema["propertyNames"]
