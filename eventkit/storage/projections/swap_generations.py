"""Compares two generations of a projection for a rebuild's swap, and replaces the live one with the other.

The swap replaces the projection's row and moves dead letters to the new generation; `swap_tables` replaces the tables.
Every function runs in the caller's transaction. The functions that change a row need the exclusive fence
(`ProjectionRegistry.take`). Called by `eventkit.projection.rebuild` alone.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.storage.db import in_schema
from eventkit.storage.projections.generations import parked_by
from eventkit.storage.projections.registry import Live
from eventkit.storage.projections.stream_lag import StreamLag

_LAGGING = """
select l.stream, coalesce(n.version, 0), l.version, coalesce(n.parked, false)
  from {s}.checkpoints l left join {s}.checkpoints n on n.generation = %(new)s and n.stream = l.stream
 where l.generation = %(live)s and l.version > coalesce(n.version, 0) order by l.stream
"""
_NEWLY_PARKED = """
select n.stream from {s}.checkpoints n where n.generation = %(new)s and n.parked
   and not exists (select from {s}.checkpoints l where l.generation = %(live)s and l.stream = n.stream and l.parked)
 order by n.stream
"""
_REPLACE = """update {s}.projections set generation = %(generation)s, declared_version = %(version)s,
                     tables = %(tables)s::text[], categories = %(categories)s::text[],
                     position = greatest(position, %(position)s) where name = %(name)s"""

# A stream's letters above all checkpoints and letters that the new generation has of it: it may still apply lower ones.
_HAND_OVER = """
with handed as (
  update {s}.dead_letters d set parked_by = %(new)s
   where parked_by = %(old)s and version > 0
     and (cardinality(%(categories)s::text[]) = 0 or split_part(stream, '-', 1) = any(%(categories)s::text[]))
     and version > coalesce((select version from {s}.checkpoints c
                              where c.generation = %(generation)s and c.stream = d.stream), 0)
     and version > coalesce((select max(version) from {s}.dead_letters n
                              where n.parked_by = %(new)s and n.stream = d.stream), 0)
  returning stream
), parked as (
  insert into {s}.checkpoints (generation, stream, version, digest, parked)
  select distinct %(generation)s, stream, 0, 0, true from handed
  on conflict (generation, stream) do update set parked = true
)
insert into {s}.redrives (parked_by, stream, asked_by)
select distinct %(new)s, stream, 'a rebuild' from handed on conflict do nothing"""
# Messages that are no events are in no stream: a rebuild does not read them again, so the live generation keeps them.
_KEEP_MALFORMED = """update {s}.dead_letters d set parked_by = %(new)s where parked_by = %(old)s and version = 0
   and not exists (select from {s}.dead_letters t where t.parked_by = %(new)s and t.stream = d.stream
                    and t.version = d.version and t.event_id = d.event_id)"""


def lagging_streams(connection: psycopg.Connection[Any], schema: str, *, new: int, live: int) -> list[StreamLag]:
    """Return the streams in which generation `new` is behind generation `live`, in order of name."""
    rows = connection.execute(in_schema(_LAGGING, schema), {"new": new, "live": live})
    return [StreamLag(*row) for row in rows]


def newly_parked(connection: psycopg.Connection[Any], schema: str, *, new: int, live: int) -> list[str]:
    """Return the streams that generation `new` has parked and generation `live` has not."""
    rows = connection.execute(in_schema(_NEWLY_PARKED, schema), {"new": new, "live": live})
    return [stream for (stream,) in rows]


def replace_generation(
    connection: psycopg.Connection[Any],
    schema: str,
    name: str,
    live: Live,
    *,
    tables: Sequence[str],
    categories: Sequence[str],
) -> None:
    """Make another generation the live one."""
    params = {"generation": live.generation, "version": live.declared_version, "position": live.position}
    where = {"name": name, "tables": list(tables), "categories": list(categories)}
    connection.execute(in_schema(_REPLACE, schema), params | where)


def hand_over_letters(
    connection: psycopg.Connection[Any], schema: str, name: str, *, old: int, new: int, categories: Sequence[str]
) -> None:
    """Give the new generation the letters of events that it has not reached, and those of malformed messages.

    The streams of the events are parked, and their redrive is requested.
    """
    generations = {"old": parked_by(name, old), "new": parked_by(name, new)}
    reached = {"generation": new, "categories": list(categories)}
    connection.execute(in_schema(_HAND_OVER, schema), generations | reached)
    connection.execute(in_schema(_KEEP_MALFORMED, schema), generations)
