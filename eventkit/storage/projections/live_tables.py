"""Finds the user's own tables of read models in PostgreSQL, by the names that their code uses."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import Table

from eventkit.storage.db import qualified

# Quoted only where it must be, also in a caller's session that quotes all identifiers: the names are compared with
# those that a projector's session has stored.
_QUOTED = """case when {name} ~ '^[a-z_][a-z0-9_]*$' collate "C"
    and not exists (select from pg_get_keywords() where word = {name} and catcode <> 'U')
  then {name}::text else '"' || replace({name}, '"', '""') || '"' end"""
_FIND = f"""select c.oid, n.nspname, c.relname,
  {_QUOTED.format(name="n.nspname")} || '.' ||
  {_QUOTED.format(name="c.relname")}
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%s)"""


_NAME = r'(?:"((?:[^"]|"")+)"|([a-z_][a-z0-9_$]*))'
_PLACE = re.compile(rf"(?:{_NAME}\.)?{_NAME}")
_KIND = "select relkind from pg_catalog.pg_class where oid = %s"

_WRITTEN = """select oid from unnest(%s::oid[]) t(oid)
  where pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
      + pg_stat_get_xact_tuples_deleted(oid) > 0"""


class TableName(NamedTuple):
    """A table's name in the user's code; without a schema, the session's search path decides."""

    schema: str | None
    name: str

    @classmethod
    def of(cls, table: Table | str) -> "TableName":
        """Read a name, `totals` or `reports.totals`."""
        if isinstance(table, Table):
            return cls(table.schema, table.name)
        schema, _, name = table.rpartition(".")
        return cls(schema or None, name)

    @classmethod
    def parse(cls, text: str) -> "TableName | None":
        """Read a name as PostgreSQL quotes it, `public."Totals"`; None where the text is anything else."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        quoted_schema, schema, quoted_name, name = found.groups()
        return cls(_unquoted(quoted_schema) or schema, _unquoted(quoted_name) or name)

    @property
    def identifier(self) -> sql.Identifier:
        """The name, quoted."""
        return sql.Identifier(self.schema, self.name) if self.schema else sql.Identifier(self.name)


class LiveTable(msgspec.Struct, frozen=True):
    """A table that exists; `place` is its quoted name with its schema."""

    oid: int
    schema: str
    name: str
    place: str


def is_table(connection: psycopg.Connection[Any], table: LiveTable) -> bool:
    """Return whether it is a user's table: no view, no sequence, and not one of PostgreSQL's own."""
    kind = connection.execute(_KIND, (table.oid,)).fetchone()
    system = table.schema.startswith("pg_") or table.schema == "information_schema"
    return kind is not None and kind[0] in {"r", "p"} and not system


def search_path(connection: psycopg.Connection[Any]) -> str:
    """Return the session's search path, which finds names without a schema."""
    row = connection.execute("select current_setting('search_path')").fetchone()
    return str(row[0]) if row else ""


def written(connection: psycopg.Connection[Any], tables: Iterable[LiveTable]) -> list[str]:
    """Return the tables that this transaction has written to, by their quoted names."""
    oids = {table.oid: table.place for table in tables}
    rows = connection.execute(qualified(_WRITTEN), (list(oids),)).fetchall()
    return [oids[oid] for (oid,) in rows]


def find_tables(connection: psycopg.Connection[Any], names: Iterable[TableName]) -> list[LiveTable]:
    """Return the tables that these names find in this session, without those that do not exist."""
    found = [
        connection.execute(qualified(_FIND), (name.identifier.as_string(connection),)).fetchone() for name in names
    ]
    return [LiveTable(*row) for row in found if row]


def _unquoted(name: str | None) -> str | None:
    return name.replace('""', '"') if name else None
