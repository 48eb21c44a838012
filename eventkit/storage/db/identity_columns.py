"""Checks the identity columns, and names the statement that repairs each problem.

A restore, logical replication or a copy of rows can leave an identity behind its column's highest number. Positions
would then collide, and two projections could share a generation, and with it their checkpoints. A session checks only
the tables that its role may read.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db.sql_text import as_part, in_schema, qualified

EVENTS, GENERATIONS = ("events", "position"), ("projections", "generation")
COLUMNS = (EVENTS, GENERATIONS, ("dead_letters", "id"), ("dead_letter_actions", "id"), ("operator_actions", "id"))

_FOUND = """select t.name, t.col, s.seqcache, s.seqincrement, s.seqcycle,
       case when has_sequence_privilege(s.seqrelid, 'SELECT') and has_table_privilege(a.attrelid, 'SELECT')
            then s.seqrelid::regclass::text end
  from unnest(%(tables)s::text[], %(columns)s::text[]) with ordinality t(name, col, nth)
  join pg_attribute a on a.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, t.name)) and a.attname = t.col
  left join pg_depend d on d.refobjid = a.attrelid and d.refobjsubid = a.attnum and d.deptype = 'i'
       and d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
  left join pg_sequence s on s.seqrelid = d.objid
 order by t.nth"""
# A statement reads a sequence later than its snapshot: the rows that it sees have drawn their numbers before.
_HIGHEST = """select %s::text, (select coalesce(max({column}), 0) from {s}.{table}),
                     (select last_value - (not is_called)::int from {sequence})"""


class Identity(NamedTuple):
    """The identity of a column in the database."""

    table: str
    column: str
    cache: int | None  # None: there is no identity
    increment: int
    cycles: bool
    sequence: str | None  # None where this session may not read it, or the table


class Problem(NamedTuple):
    """A problem of one column, as a sentence."""

    table: str
    column: str
    sentence: str
    is_behind: bool


def identity_problems(connection: psycopg.Connection[Any], schema: str) -> list[Problem]:
    """Return the problems of a schema's identities, that of `events` first."""
    tables, columns = zip(*COLUMNS, strict=True)
    params = {"schema": schema, "tables": list(tables), "columns": list(columns)}
    found = [Identity(*row) for row in connection.execute(qualified(_FOUND), params)]
    numbers = _numbers(connection, schema, [item for item in found if item.sequence])
    return [problem for item in found for problem in _problems(schema, item, numbers.get(item.table, (0, None)))]


def _numbers(
    connection: psycopg.Connection[Any], schema: str, readable: list[Identity]
) -> dict[str, tuple[int, int | None]]:
    """Return the highest number in each column, and the last that its identity has drawn."""
    if not readable:
        return {}
    statements = [
        in_schema(_HIGHEST, schema, table=item.table, column=item.column, sequence=as_part(item.sequence or ""))
        for item in readable
    ]
    rows = connection.execute(b" union all ".join(statements), [item.table for item in readable])
    return {table: (highest, last) for table, highest, last in rows}


def _problems(schema: str, item: Identity, numbers: tuple[int, int | None]) -> Iterator[Problem]:
    name = f"{schema}.{item.table}.{item.column}"
    alter = f'alter table "{schema}".{item.table} alter column {item.column}'
    highest, last = numbers
    is_of_events = (item.table, item.column) == EVENTS

    def problem(sentence: str, *, is_behind: bool = False) -> Problem:
        return Problem(item.table, item.column, sentence, is_behind)

    if item.cache is None:
        order = "positions would come in any order; " if is_of_events else ""
        yield problem(f"{name} is no identity column: {order}restore it as its migration made it")
        return
    if item.cache != 1:
        harm = ", which reorders events" if is_of_events else ""
        yield problem(f"the identity of {name} has a cache of {item.cache}{harm}: run `{alter} set cache 1`")
    if item.increment != 1:
        yield problem(f"the identity of {name} has an increment of {item.increment}: run `{alter} set increment by 1`")
    if item.cycles:
        yield problem(f"the identity of {name} restarts at its end, and numbers repeat: run `{alter} set no cycle`")
    if last is not None and last < highest:
        yield problem(
            f"the identity of {name} is at {last}, behind the highest {item.column} {highest}: "
            f"run `{alter} restart with {highest + 1}`",
            is_behind=True,
        )
