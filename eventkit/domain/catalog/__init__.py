"""The catalog of a service: its event types by name, their versions, and the compatibility of two releases."""

from eventkit.domain.catalog.catalog import DEFAULT_MAX_BYTES, Catalog
from eventkit.domain.catalog.catalog_export import Description, TypeDescription, describe, description_of
from eventkit.domain.catalog.compatibility import breaks
from eventkit.domain.catalog.event_type import EventType
from eventkit.domain.catalog.json_schema import problems
from eventkit.domain.catalog.names import category_of, check_topic, listed
from eventkit.domain.catalog.schema import Definitions, definition_of, draft7, free_name

__all__ = [
    "DEFAULT_MAX_BYTES",
    "Catalog",
    "Definitions",
    "Description",
    "EventType",
    "TypeDescription",
    "breaks",
    "category_of",
    "check_topic",
    "definition_of",
    "describe",
    "description_of",
    "draft7",
    "free_name",
    "listed",
    "problems",
]
