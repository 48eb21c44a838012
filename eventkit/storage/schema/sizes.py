"""Reads the sizes of the tables: rows by the statistics, bytes with indexes, dead rows; and the oldest events."""

from datetime import datetime
from typing import Any

import msgspec
import psycopg

from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.tables import metadata

_TABLES = """select relname, greatest(n_live_tup, 0), pg_total_relation_size(relid), n_dead_tup
               from pg_stat_user_tables where schemaname = %s and relname = any(%s) order by 3 desc, 1"""
# By the primary keys; a count reads a hundred thousand rows at most.
_AGES = """select (select recorded_at from {s}.events order by position limit 1),
       (select count(*) from (select from {s}.outbox limit 100000) o),
       (select e.recorded_at from {s}.events e
         where e.position = (select position from {s}.outbox order by position limit 1)),
       (select count(*) from (select from {s}.dead_letters limit 100000) d)"""


class TableSize(msgspec.Struct, frozen=True):
    """The size of one table."""

    name: str
    rows: int  # an estimate
    bytes: int
    dead_rows: int


class Sizes(msgspec.Struct, frozen=True):
    """All tables of eventkit, the largest first."""

    tables: list[TableSize]
    oldest_event: datetime | None
    unsent: int  # 100,000 at most, like the letters
    oldest_unsent: datetime | None
    dead_letters: int


def table_sizes(connection: psycopg.Connection[Any], schema: str) -> Sizes:
    """Return the sizes, read on an autocommit connection."""
    names = [table.name for table in metadata(schema).sorted_tables]
    with database_errors():
        tables = [TableSize(*row) for row in connection.execute(_TABLES.encode(), (schema, names))]
        ages = connection.execute(in_schema(_AGES, schema)).fetchone() or (None, 0, None, 0)
    return Sizes(tables, *ages)
