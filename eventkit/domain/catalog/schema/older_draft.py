"""A JSON Schema of draft 2020-12 as one of draft 7, which AsyncAPI and generators of types read."""

from typing import Any

_LISTS = ("anyOf", "allOf", "oneOf", "items")
_BY_NAME = ("properties", "patternProperties", "definitions")
_OF_OPENAPI = "discriminator"  # its text has another meaning in AsyncAPI, and `const` says the same


def draft7(schema: Any) -> Any:
    """Return a schema of draft 7 that accepts the same values."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {
        name: value for name, value in schema.items() if name not in ("prefixItems", "$ref", _OF_OPENAPI)
    }
    if "prefixItems" in schema:
        found["additionalItems"] = schema.get("items", True)
        found["items"] = list(schema["prefixItems"])
    if "$ref" in schema:  # draft 7 ignores everything beside it
        reference = {"$ref": schema["$ref"]}
        found = {**found, "allOf": [reference]} if found else reference
    return {name: _part(name, value) for name, value in found.items()}


def _part(name: str, value: Any) -> Any:
    if name in _LISTS and isinstance(value, list):
        return [draft7(part) for part in value]
    if name in _BY_NAME:
        return {key: draft7(part) for key, part in value.items()}
    if name in ("items", "additionalProperties", "additionalItems", "propertyNames", "contains", "not"):
        return draft7(value)
    return value
