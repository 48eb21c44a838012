"""The checkpoints and the dead letters of one generation of a projection.

A generation that no row of `projections` or `rebuilds` names is dead. No batch is applied to it, because every batch
reads its generation after it has taken the fence. The process that made it dead, or the next rebuild, deletes its rows.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.storage.db import in_schema

# A loose scan over the primary key: one step a generation, however many streams each has.
_DEAD = """
with recursive g(n) as (
  (select generation from {s}.checkpoints order by 1 limit 1)
  union all
  select (select c.generation from {s}.checkpoints c where c.generation > g.n order by 1 limit 1)
    from g where n is not null
)
select n from g where n is not null
   and n not in (select generation from {s}.projections) and n not in (select generation from {s}.rebuilds)
"""
_CHECKPOINTS = "delete from {s}.checkpoints where generation = %s"
_CAUSES = """select cause, count(*) from (
  select cause from {s}.dead_letters where parked_by = %s limit %s) d group by cause order by cause"""
_LETTERS = "delete from {s}.dead_letters where parked_by like 'projection:%%' and split_part(parked_by, ':', 3) = %s"
_REDRIVES = "delete from {s}.redrives where parked_by like 'projection:%%' and split_part(parked_by, ':', 3) = %s"
# Messages that are no events are in no stream: a rebuild does not read them again, so the live generation keeps them.
_KEEP_MALFORMED = """update {s}.dead_letters d set parked_by = %(new)s where parked_by = %(old)s and version = 0
   and not exists (select from {s}.dead_letters t where t.parked_by = %(new)s and t.stream = d.stream
                    and t.version = d.version and t.event_id = d.event_id)"""
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


def dead_generations(connection: psycopg.Connection[Any], schema: str) -> list[int]:
    """Return the generations that have checkpoints and no row."""
    return [number for (number,) in connection.execute(in_schema(_DEAD, schema))]


def forget(connection: psycopg.Connection[Any], schema: str, generation: int) -> int:
    """Delete a generation's checkpoints and letters; return the number of letters."""
    connection.execute(in_schema(_CHECKPOINTS, schema), (generation,))
    connection.execute(in_schema(_REDRIVES, schema), (str(generation),))
    return connection.execute(in_schema(_LETTERS, schema), (str(generation),)).rowcount


def keep_malformed(connection: psycopg.Connection[Any], schema: str, *, old: str, new: str) -> None:
    """Give the letters of malformed messages to the next generation."""
    connection.execute(in_schema(_KEEP_MALFORMED, schema), {"old": old, "new": new})


def hand_over(
    connection: psycopg.Connection[Any], schema: str, *, name: str, old: int, new: int, categories: Sequence[str]
) -> None:
    """Give the next generation the letters that it has not reached, in its categories, and request their redrive."""
    generations = {"old": parked_by(name, old), "new": parked_by(name, new), "generation": new}
    params = generations | {"categories": list(categories)}
    connection.execute(in_schema(_HAND_OVER, schema), params)


def letters_by_cause(
    connection: psycopg.Connection[Any], schema: str, parked_by: str, *, upto: int | None
) -> dict[str, int]:
    """Return the number of letters by cause; it counts `upto` letters at most."""
    return dict(connection.execute(in_schema(_CAUSES, schema), (parked_by, upto)).fetchall())


def parked_by(name: str, generation: int) -> str:
    """Return the `parked_by` of a generation's dead letters."""
    return f"projection:{name}:{generation}"
