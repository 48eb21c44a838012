"""The ids of registered schemas that the relay keeps, for starts while the registry is away."""

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from eventkit.storage.db import database_errors, in_schema

_READ = """
select registry, subject, schema_version, id, guid from {s}.schema_ids where registry = %s
"""
_RECORD = """
insert into {s}.schema_ids (registry, subject, schema_version, id, guid) values (%s, %s, %s, %s, %s)
on conflict (registry, subject, schema_version) do update
   set id = excluded.id, guid = excluded.guid
"""


class KnownSchema(NamedTuple):
    """A row: the id of the newest registered schema of one schema version."""

    registry: str
    subject: str
    schema_version: int
    id: int
    guid: UUID | None


def known_schemas(connection: psycopg.Connection[Any], schema: str, *, registry: str) -> list[KnownSchema]:
    """Return the schemas that were looked up in a registry."""
    with database_errors():
        rows = connection.execute(in_schema(_READ, schema), (registry,)).fetchall()
    return [KnownSchema(*row) for row in rows]


def record_schema(connection: psycopg.Connection[Any], schema: str, found: KnownSchema) -> None:
    """Record a schema that was looked up, in place of an earlier one of its schema version."""
    with database_errors():
        connection.execute(in_schema(_RECORD, schema), found)
