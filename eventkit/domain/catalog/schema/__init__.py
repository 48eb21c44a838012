"""JSON Schemas of events' data: written from their classes, combined by their definitions."""

from eventkit.domain.catalog.schema.definitions import (
    Definitions,
    Schema,
    all_parts,
    definition_of,
    free_name,
    parts_of,
)
from eventkit.domain.catalog.schema.older_draft import draft7
from eventkit.domain.catalog.schema.writer import schema_of

__all__ = ["Definitions", "Schema", "all_parts", "definition_of", "draft7", "free_name", "parts_of", "schema_of"]
