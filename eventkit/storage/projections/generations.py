"""The checkpoints and the dead letters of one generation of a projection.

A generation that no row of `projections` or `rebuilds` names is dead. No batch is applied to it, because every batch
reads its generation after it has taken the fence. The process that made it dead, or the next rebuild, deletes its rows.
"""

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


def dead_generations(connection: psycopg.Connection[Any], schema: str) -> list[int]:
    """Return the generations that have checkpoints and no row."""
    return [number for (number,) in connection.execute(in_schema(_DEAD, schema))]


def forget(connection: psycopg.Connection[Any], schema: str, generation: int) -> int:
    """Delete a generation's checkpoints and letters; return the number of letters."""
    connection.execute(in_schema(_CHECKPOINTS, schema), (generation,))
    connection.execute(in_schema(_REDRIVES, schema), (str(generation),))
    return connection.execute(in_schema(_LETTERS, schema), (str(generation),)).rowcount


def letters_by_cause(
    connection: psycopg.Connection[Any], schema: str, parked_by: str, *, upto: int | None
) -> dict[str, int]:
    """Return the number of letters by cause; it counts `upto` letters at most."""
    return dict(connection.execute(in_schema(_CAUSES, schema), (parked_by, upto)).fetchall())


def parked_by(name: str, generation: int) -> str:
    """Return the `parked_by` of a generation's dead letters."""
    return f"projection:{name}:{generation}"


def generation_of(parked_by: str) -> tuple[str, int]:
    """Return the projection's name and the generation of a letter's `parked_by`."""
    _, name, generation = parked_by.split(":")
    return name, int(generation)
