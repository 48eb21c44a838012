"""Makes the tables that a rebuild fills: like the live ones, with the same names, in their own PostgreSQL schema.

With the same names, a user's own SQL statements find the shadow by the session's search path. `like` copies columns,
defaults, checks and comments. Primary key, unique and exclusion constraints and unique indexes are made at the start.
The other indexes are built after the rows, which is cheaper. The swap adds foreign keys, grants, owner and replica
identity.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from eventkit.errors import RebuildRefused
from eventkit.storage.db import qualified
from eventkit.storage.projections.live_tables import LiveTable

# The table's columns, constraints and indexes as text. The swap compares it, and refuses a table that was altered while
# its shadow was filled.
_DEFINITION = """
select coalesce(string_agg(line, e'\n' order by line collate "C"), '') from (
  select 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull::text || attidentity::text
         || attgenerated::text || attcollation::text || coalesce(pg_get_expr(adbin, adrelid), '') as line
    from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
   where attrelid = %(oid)s and attnum > 0 and not attisdropped
  union all
  select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where conrelid = %(oid)s
  union all
  select 'index ' || pg_get_indexdef(indexrelid) from pg_index where indrelid = %(oid)s and indisvalid
) lines
"""

_PUBLISHED = "select exists (select from pg_publication where puballtables)"
_MARK = "eventkit_mark"  # an unlogged table with a row

_LIKE = """
select format('create %%s table %%s (like %%s including all excluding indexes)%%s%%s',
              case when %(unlogged)s or relpersistence = 'u' then 'unlogged' else '' end, %(to)s::text, c.oid::regclass,
              ' with (' || array_to_string(reloptions, ', ') || ')',
              ' tablespace ' || quote_ident(t.spcname))
  from pg_class c left join pg_tablespace t on t.oid = c.reltablespace where c.oid = %(oid)s
"""
_KEYS = """
select format('alter table %%s add constraint %%I %%s', %(to)s::text, conname, pg_get_constraintdef(oid))
  from pg_constraint where conrelid = %(oid)s and contype in ('p', 'u', 'x')
 order by contype, conname
"""
_INDEXES = """
select format('create %%s index if not exists %%I on %%s %%s', case when indisunique then 'unique' else '' end,
              i.relname, %(to)s::text, substring(pg_get_indexdef(i.oid) from '^.*? (USING .*)$'))
  from pg_index join pg_class i on i.oid = indexrelid
 where indrelid = %(oid)s and indisvalid and indisunique = %(unique)s
   and not exists (select from pg_constraint where conindid = i.oid and contype in ('p', 'u', 'x'))
 order by i.relname
"""


def definition(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> str:
    """Return the definition of the tables as text, which the swap compares."""
    return "\n".join(
        f"{table.place}\n{_value(connection, _DEFINITION, oid=table.oid)}" for table in sorted(tables, key=_place)
    )


def create_shadow(connection: psycopg.Connection[Any], name: str, tables: Sequence[LiveTable]) -> None:
    """Create the schema and its tables, empty, with their unique constraints and indexes.

    Where a publication is for all tables they are unlogged, which keeps them out of it, and the rows are merged later.
    A crash of the server empties them, and the table `_MARK`, while the checkpoints stay.
    """
    unlogged = connection.execute(_PUBLISHED).fetchone() == (True,)
    connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
    if unlogged:
        mark = sql.Identifier(name, _MARK)
        connection.execute(sql.SQL("create unlogged table {} as select true as there").format(mark))
    for table in tables:
        params = {"oid": table.oid, "to": shadow_of(connection, name, table), "unlogged": unlogged}
        _execute(connection, _LIKE, params)
        _execute(connection, _KEYS, params)
        _execute(connection, _INDEXES, {**params, "unique": True})


def is_unlogged(connection: psycopg.Connection[Any], name: str) -> bool:
    """Return whether a shadow's tables are unlogged, so they cannot replace the live ones."""
    row = connection.execute("select to_regclass(%s) is not null", [_mark(name)]).fetchone()
    return row == (True,)


def is_lost(connection: psycopg.Connection[Any], name: str) -> bool:
    """Return whether a crash of the server has emptied a shadow: its checkpoints are not valid any more."""
    if not is_unlogged(connection, name):
        return False
    return connection.execute(f"select exists (select from {_mark(name)})".encode()).fetchone() != (True,)


def index_shadow(connection: psycopg.Connection[Any], name: str, tables: Sequence[LiveTable]) -> None:
    """Build the other indexes, and analyze the tables; may be called again."""
    for table in tables:
        to = shadow_of(connection, name, table)
        _execute(connection, _INDEXES, {"oid": table.oid, "to": to, "unique": False})
        connection.execute(f"analyze {to}".encode())


def drop_shadow(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a shadow, if it exists; waits for transactions that write to it."""
    connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)), prepare=True)


def shadow_of(connection: psycopg.Connection[Any], name: str, table: LiveTable) -> str:
    """Return the quoted name of a table's shadow."""
    return sql.Identifier(name, table.name).as_string(connection)


def refuse_same_names(tables: Sequence[LiveTable]) -> None:
    """Raise RebuildRefused where two tables would have one shadow."""
    names = [table.name for table in tables]
    twice = next((table for table in tables if names.count(table.name) > 1), None)
    if twice:
        raise RebuildRefused(
            f"two tables of one projection are named {twice.name!r}: a rebuild cannot tell them apart; rename one"
        )


def _mark(name: str) -> str:
    return sql.Identifier(name, _MARK).as_string()


def _execute(connection: psycopg.Connection[Any], generator: str, params: dict[str, Any]) -> None:
    """Run the statements that a statement returns."""
    for (statement,) in connection.execute(qualified(generator), params).fetchall():
        connection.execute(statement.encode())


def _value(connection: psycopg.Connection[Any], statement: str, **params: Any) -> str:  # noqa: ANN401 parameters
    row = connection.execute(qualified(statement), params).fetchone()
    return str(row[0]) if row else ""


def _place(table: LiveTable) -> str:
    return table.place
