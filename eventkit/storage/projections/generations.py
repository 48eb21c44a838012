"""What belongs to one generation of a projection besides its tables: its checkpoints and its dead letters.

A generation that no row of `projections` or `rebuilds` names is dead: nobody applies to it, for every batch reads its
generation behind the fence. What is left of it is taken away by whoever made it dead, or by the next rebuild.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

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
# Messages that are no events are in no stream: no rebuild reads them again, so they stay with what is live.
_KEEP_MALFORMED = """update {s}.dead_letters d set parked_by = %(new)s where parked_by = %(old)s and version = 0
   and not exists (select from {s}.dead_letters t where t.parked_by = %(new)s and t.stream = d.stream
                    and t.version = d.version and t.event_id = d.event_id)"""
# A stream's letters above all that the new generation has of it: it may be about to apply what is below them.
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
    return [number for (number,) in connection.execute(_sql(_DEAD, schema))]


def forget(connection: psycopg.Connection[Any], schema: str, generation: int) -> int:
    """Delete a generation's checkpoints and letters; return how many letters there were."""
    connection.execute(_sql(_CHECKPOINTS, schema), (generation,))
    connection.execute(_sql(_REDRIVES, schema), (str(generation),))
    return connection.execute(_sql(_LETTERS, schema), (str(generation),)).rowcount


def keep_malformed(connection: psycopg.Connection[Any], schema: str, *, old: str, new: str) -> None:
    """Hand the letters of messages without a place from one generation on to the next."""
    connection.execute(_sql(_KEEP_MALFORMED, schema), {"old": old, "new": new})


def hand_over(
    connection: psycopg.Connection[Any], schema: str, *, name: str, old: int, new: int, categories: Sequence[str]
) -> None:
    """Hand the letters that the next generation has not reached on to it, of what it reads, to be tried by its code."""
    generations = {"old": parked_by(name, old), "new": parked_by(name, new), "generation": new}
    params = generations | {"categories": list(categories)}
    connection.execute(_sql(_HAND_OVER, schema), params)


def letters_by_cause(
    connection: psycopg.Connection[Any], schema: str, parked_by: str, *, upto: int | None
) -> dict[str, int]:
    """Return how many letters there are, by cause, of `upto` at most."""
    return dict(connection.execute(_sql(_CAUSES, schema), (parked_by, upto)).fetchall())


def parked_by(name: str, generation: int) -> str:
    """Return what the dead letters of a generation say of who parked them."""
    return f"projection:{name}:{generation}"


def _sql(statement: str, schema: str) -> bytes:
    return statement.format(s=f'"{schema}"').encode()
