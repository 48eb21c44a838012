"""Reads the rows of a process manager, which are in the service's own table, by their primary key.

The session's role needs the right to read that table.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from psycopg import DataError

from eventkit.insights.answers import Page, ProcessRowInsight
from eventkit.insights.reader import InsightReader, checked_limit, page_key, read_key
from eventkit.storage.db import as_part

_TABLE = """select to_regclass(tables[1])::text,
       (select array_agg(a.attname order by k.nth) from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k(attnum, nth)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where i.indrelid = to_regclass(tables[1]) and i.indisprimary)
  from {s}.projections where name = %(name)s and kind = 'process manager' and cardinality(tables) > 0"""
# `texts` are the columns of the key as text, and `condition` is a row comparison with some of their values.
_ROWS = """select array[{texts}], to_jsonb(p)::text from {table} p where {condition}
 order by {columns} limit %(more)s"""


class _ProcessTable(NamedTuple):
    """The table of a process manager, and the columns of its primary key; both are quoted."""

    name: str
    key: tuple[str, ...]


def page(
    reader: InsightReader, manager: str, *, key: Sequence[str], after: str | None, limit: int
) -> Page[ProcessRowInsight]:
    """Return the rows of a process manager in order of their key, or the one with this key."""
    table = _table(reader, manager)
    if table is None or (key and len(key) != len(table.key)):
        return Page(items=(), next=None)
    last = read_key(after, *[str] * len(table.key)) if after else None
    values = {f"k{nth}": value for nth, value in enumerate(key or last or ())}
    columns = [as_part(column) for column in table.key]
    parts = {
        "texts": ", ".join(f"{column}::text" for column in columns),
        "table": as_part(table.name),
        "condition": _condition(columns, values, "=" if key else ">"),
        "columns": ", ".join(columns),
    }
    try:
        rows = reader.rows(_ROWS, values | {"more": checked_limit(limit) + 1}, **parts)
    except DataError:  # the given key is no value of its column's type
        rows = []
    items = tuple(ProcessRowInsight(manager=manager, key=tuple(each), row=row) for each, row in rows[:limit])
    return Page(items=items, next=page_key(*items[-1].key) if len(rows) > limit else None)


def _condition(columns: Sequence[str], values: Iterable[str], comparison: str) -> str:
    """Return the comparison of columns with the parameters of these names; no condition without values."""
    parameters = ", ".join(f"%({name})s" for name in values)
    return f"({', '.join(columns)}) {comparison} ({parameters})" if parameters else "true"


def key_columns(reader: InsightReader, manager: str) -> tuple[str, ...] | None:
    """Return the names of the key's columns; None where there is no process manager of this name, or no table."""
    table = _table(reader, manager)
    return None if table is None else tuple(column[1:-1].replace('""', '"') for column in table.key)


def _table(reader: InsightReader, manager: str) -> _ProcessTable | None:
    rows = reader.rows(_TABLE, {"name": manager})
    if not rows or rows[0][0] is None or not rows[0][1]:
        return None
    name, columns = rows[0]
    return _ProcessTable(name, tuple('"' + column.replace('"', '""') + '"' for column in columns))
