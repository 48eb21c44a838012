"""Finds stored event types that a catalog does not know, before a process reads them.

A loose scan over the index on (source, type): one step a type, however many events there are. A type whose events were
all pruned is not found.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.domain.catalog import Catalog
from eventkit.errors import UnknownEventType
from eventkit.storage.db import database_errors, in_schema

_TYPES = """
with recursive t(type) as (
  (select type from {s}.events where source = %(source)s order by type limit 1)
  union all
  select (select e.type from {s}.events e where e.source = %(source)s and e.type > t.type order by e.type limit 1)
    from t where type is not null
)
select type from t where type is not null
"""
_EVENTS_CHECKED = 1_000  # of a type: nearly all types occur in one category
_CATEGORIES = f"""select distinct split_part(stream, '-', 1) from (
  select stream from {{s}}.events where source = %s and type = %s limit {_EVENTS_CHECKED}) e"""


def refuse_unknown_types(
    connection: psycopg.Connection[Any], schema: str, catalog: Catalog, *, categories: Sequence[str] = ()
) -> None:
    """Raise UnknownEventType where the store has events of the catalog's source with a type that it does not know.

    Given `categories`, check only types that occur in them.
    """
    with database_errors():
        rows = connection.execute(in_schema(_TYPES, schema), {"source": catalog.name}).fetchall()
        unknown = [name for (name,) in rows if not catalog.has_known(name)]
        if categories:
            read = set(categories)
            unknown = [name for name in unknown if read & categories_of(connection, schema, catalog.name, name)]
    if unknown:
        raise UnknownEventType(find_unknown_types(catalog.name, unknown))


def find_unknown_types(source: str, names: Sequence[str]) -> str:
    """Return a message that names unknown types and the ways to make them known."""
    return (
        f"events of {source!r} have types that the catalog of this code does not know: {', '.join(names)}; they would "
        "have no effect. Import the module that registers them; if a class was renamed, give renamed_from=...; if "
        f"no code uses them any more, call catalog.retired({names[0]!r})"
    )


def categories_of(connection: psycopg.Connection[Any], schema: str, source: str, name: str) -> set[str]:
    """Return the categories of the first 1,000 events of a type."""
    rows = connection.execute(in_schema(_CATEGORIES, schema), (source, name)).fetchall()
    return {category for (category,) in rows}
