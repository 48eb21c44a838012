"""The relay's schema ids, as the settings `registry_url`, `registry_subjects` and `schema_id` have them."""

from typing import cast

from eventkit.config import Settings
from eventkit.registry import SchemaIdForm, SchemaIds, SchemaIdTransport, SchemaRegistry, SubjectNames
from eventkit.storage.db import connect
from eventkit.transports import Transport

_TIMEOUT = 2.0  # seconds; a lookup holds up the reader of the outbox


def schema_ids(settings: Settings) -> SchemaIds | None:
    """Return the ids for the relay; None if messages name no schema. Raise ConfigurationError for a wrong setting."""
    if settings.schema_id == SchemaIdForm.OFF:
        return None
    registry = SchemaRegistry(settings.require_registry(), timeout=_TIMEOUT)
    return SchemaIds(registry, SubjectNames(settings.registry_subjects))


def load_schema_ids(settings: Settings, ids: SchemaIds) -> None:
    """Load the ids that are kept in the database, and look for newer ones."""
    with connect(settings.require_database(), name="check", schema=settings.schema, autocommit=True) as connection:
        ids.load(connection, settings.schema)


def naming_schemas(settings: Settings, transport: Transport, ids: SchemaIds | None) -> Transport:
    """Return a transport whose messages name their schemas; the same one without ids."""
    if ids is None:
        return transport
    return cast("Transport", SchemaIdTransport(transport, ids, SchemaIdForm(settings.schema_id)))
