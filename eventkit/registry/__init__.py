"""Schema registries with Confluent's API: registering a catalog, its compatibility there, ids on the wire."""

from eventkit.registry.client import RegisteredVersion, SchemaRegistry
from eventkit.registry.compatibility_levels import SchemaChange, schema_changes
from eventkit.registry.schema_ids import SchemaIds
from eventkit.registry.schema_writer import SchemaIdForm, SchemaIdTransport
from eventkit.registry.subjects import PlannedSchema, SubjectNames, planned_schemas

__all__ = [
    "PlannedSchema",
    "RegisteredVersion",
    "SchemaChange",
    "SchemaIdForm",
    "SchemaIdTransport",
    "SchemaIds",
    "SchemaRegistry",
    "SubjectNames",
    "planned_schemas",
    "schema_changes",
]
