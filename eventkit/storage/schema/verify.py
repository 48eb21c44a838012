"""Compares a live database with `eventkit.storage.tables`: both become facts, and each difference becomes a sentence.

    column events.version: integer not null
    index dead_letters.dead_letters_parked_by_stream_cause_idx: btree (parked_by, stream, cause)

It only reads, and only eventkit's schema: `eventkit db verify` needs no privilege besides.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    DefaultClause,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql

from eventkit.config import check_schema
from eventkit.storage.db import (
    connect,
    database_errors,
    identity_problems,
    qualified,
    quoted,
    revision_problem,
    revisions,
)
from eventkit.storage.tables import (
    APPEND_ONLY,
    REFUSE_CHANGE,
    REFUSE_CHANGE_BODY,
    STORAGE,
    TO_DEBEZIUM,
    VERSION_TABLE,
    metadata,
    to_debezium_body,
)

Facts = dict[str, str]

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_TABLE = re.compile(r"(?:column|constraint|index|trigger|rule|comment of|storage of|row security of) ([^.]+)")

_LIVE = """
with ours as (
  select c.oid, c.relname as name, c.reloptions
    from pg_class c
   where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
     and c.relname <> %(version_table)s
)
select 'table ' || name, case relpersistence when 'p' then '' else 'unlogged' end
  from ours join pg_class using (oid)
union all
select 'comment of ' || name, coalesce(obj_description(oid, 'pg_class'), '') from ours
union all
select 'storage of ' || name,
       coalesce((select string_agg(o, ', ' order by o collate "C") from unnest(reloptions) o), '')
  from ours
union all
select 'column ' || name || '.' || attname,
       format_type(atttypid, atttypmod)
       || case when collname in ('default') or collname is null then '' else ' collate ' || collname end
       || case when attnotnull then ' not null' else '' end
       || case attidentity when 'a' then ' always identity' when 'd' then ' by default identity' else '' end
       || case when attgenerated <> '' then ' generated' else '' end
       || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
  from ours join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped
       left join pg_attrdef on adrelid = attrelid and adnum = attnum and attgenerated = ''
       left join pg_collation on pg_collation.oid = attcollation
union all
select 'constraint ' || name || '.' || conname,
       pg_get_constraintdef(k.oid, true) || case when convalidated then '' else ' not validated' end
  from ours join pg_constraint k on conrelid = ours.oid and contype in ('p', 'u', 'c', 'f', 'x')
union all
select 'index ' || name || '.' || i.relname,
       case when indisunique then 'unique ' else '' end || substring(pg_get_indexdef(i.oid) from 'USING (.*)$')
       || case when indisvalid and indisready then '' else ' invalid' end
  from ours join pg_index on indrelid = ours.oid join pg_class i on i.oid = indexrelid
 where not exists (select from pg_constraint where conindid = i.oid and contype in ('p', 'u', 'x'))
union all
select 'trigger ' || name || '.' || tgname,
       pg_get_triggerdef(t.oid) || case tgenabled when 'A' then '' when 'D' then ' disabled' else ' not always' end
  from ours join pg_trigger t on tgrelid = ours.oid and not tgisinternal
union all
select 'rule ' || name || '.' || rulename, 'do something else' from ours join pg_rewrite on ev_class = ours.oid
union all
select 'row security of ' || name, 'on' from ours join pg_class using (oid) where relrowsecurity
union all
select 'function ' || proname, prosrc from pg_proc where pronamespace = %(schema)s::regnamespace
"""

_NAMESAKE = """
select coalesce((select substring(setting from '=(.*)$') from pg_db_role_setting, unnest(setconfig) setting
                  where setting like 'search_path=%%' and setrole in (0, r.oid)
                    and setdatabase in (0, (select oid from pg_database where datname = current_database()))
                  order by setrole <> 0 desc, setdatabase <> 0 desc limit 1), '"$user", public')
  from pg_roles r where rolname = %(schema)s
"""


def _session(url: str) -> psycopg.Connection[Any]:
    """Connect with a search path with which PostgreSQL prints eventkit's names with their schema."""
    return connect(url, name="verify", schema=None, options={"search_path": "pg_catalog, pg_temp"})


def differences(url: str, schema: str) -> list[str]:
    """Return a sentence for each difference from `eventkit.storage.tables`; an empty list where there is none."""
    check_schema(schema)
    with _session(url) as connection, database_errors():
        row = connection.execute("select to_regnamespace(%s) is not null", [quoted(schema)]).fetchone()
        if row != (True,):
            return [f"schema {schema!r} is missing: run `eventkit db upgrade`"]
        return _differences(connection, schema)


def notes(url: str, schema: str) -> list[str]:
    """Return a sentence for each risk that is no difference: a role named like the schema."""
    with connect(url, name="verify", schema=None) as connection, database_errors():
        row = connection.execute(qualified(_NAMESAKE), {"schema": schema}).fetchone()
    if row is None:
        return []
    found = f'role {schema!r} has the schema\'s name: with "$user" in its search path, tables that it makes without a'
    return [f"{found} schema are made among eventkit's; its search path in this database is {row[0]}"]


def expected(schema: str) -> Facts:
    """Return the facts of `eventkit.storage.tables`."""
    facts = dict(fact for table in metadata(schema).sorted_tables for fact in _table(table))
    name = _DIALECT.identifier_preparer.quote(schema)
    for table in APPEND_ONLY:
        facts[f"trigger {table}.{table}_append_only"] = (
            f"CREATE TRIGGER {table}_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON {name}.{table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}.{REFUSE_CHANGE}()"
        )
    facts[f"function {REFUSE_CHANGE}"] = REFUSE_CHANGE_BODY
    facts[f"function {TO_DEBEZIUM}"] = to_debezium_body(name)
    return facts


def live(connection: psycopg.Connection[Any], schema: str) -> Facts:
    """Return the facts of the database."""
    names = {"schema": quoted(schema), "version_table": VERSION_TABLE}
    return dict(connection.execute(_LIVE, names).fetchall())


def _differences(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    wanted, found = expected(schema), live(connection, schema)
    missing = [f"{name} is missing" for name in wanted if name not in found and not _goes_with_table(name, found)]
    extra = [f"{name} is not ours" for name in found if name not in wanted and not _goes_with_table(name, wanted)]
    wrong = [_contradiction(name, found[name], wanted[name]) for name in wanted if name in found]
    behind = revision_problem(schema, at) if (at := revisions(connection, schema)) else None
    identity = [problem.sentence for problem in identity_problems(connection, schema)]
    return [sentence for sentence in [behind, *missing, *extra, *wrong, *identity] if sentence]


def _goes_with_table(name: str, others: Facts) -> bool:
    """Whether the whole table is on one side only: it gets one sentence, not one for each column."""
    table = _TABLE.match(name)
    return table is not None and f"table {table[1]}" not in others


def _contradiction(name: str, found: str, wanted: str) -> str | None:
    if _plain(found) == _plain(wanted):
        return None
    if "\n" in wanted:
        return f"{name} has another body than ours"
    return f"{name} is {found or 'nothing'!r}, must be {wanted or 'nothing'!r}"


def _plain(fact: str) -> str:
    return " ".join(fact.replace('"', "").split())


def _table(table: Table) -> Iterator[tuple[str, str]]:
    options = table.info.get(STORAGE, {})
    yield f"table {table.name}", ""
    yield f"comment of {table.name}", table.comment or ""
    yield f"storage of {table.name}", ", ".join(sorted(f"{name}={value}" for name, value in options.items()))
    for column in table.columns:
        yield f"column {table.name}.{column.name}", _column(column)
    for constraint in table.constraints:
        yield f"constraint {table.name}.{constraint.name}", _constraint(constraint)
    for index in table.indexes:
        unique = "unique " if index.unique else ""
        where = index.dialect_options["postgresql"]["where"]
        part = "" if where is None else f" WHERE {where}"
        yield f"index {table.name}.{index.name}", f"{unique}btree ({_indexed(index)}){part}"


def _column(column: Column[Any]) -> str:
    collation = getattr(column.type, "collation", None)
    declared = column.type.compile(dialect=_DIALECT).split(" COLLATE ")[0].lower()
    always = ""
    if column.identity is not None:
        always = " always identity" if column.identity.always else " by default identity"
    default = column.server_default.arg if isinstance(column.server_default, DefaultClause) else None
    return (
        declared
        + (f" collate {collation}" if collation else "")
        + ("" if column.nullable else " not null")
        + always
        + ("" if default is None else f" default {default}")
    )


def _constraint(constraint: Constraint) -> str:
    match constraint:
        case CheckConstraint():
            return f"CHECK ({constraint.sqltext})"
        case PrimaryKeyConstraint():
            return f"PRIMARY KEY ({_names(constraint.columns)})"
        case UniqueConstraint():
            return f"UNIQUE ({_names(constraint.columns)})"
    raise TypeError(f"{constraint!r} has no words in verify.py yet")


def _indexed(index: Index) -> str:
    return ", ".join(one.name if isinstance(one, Column) else str(one) for one in index.expressions)


def _names(columns: Iterable[Any]) -> str:
    return ", ".join(column.name for column in columns)
