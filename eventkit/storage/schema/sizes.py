"""How large the tables are: rows (as the statistics say), bytes with indexes, dead rows; and what is oldest in them."""

from datetime import datetime
from typing import Any

import msgspec
import psycopg

from eventkit.storage.db import database_errors
from eventkit.storage.tables import metadata

_TABLES = """select relname, greatest(n_live_tup, 0), pg_total_relation_size(relid), n_dead_tup
               from pg_stat_user_tables where schemaname = %s and relname = any(%s) order by 3 desc, 1"""
# Both by the primary keys; nothing is counted further than a hundred thousand.
_AGES = """select (select recorded_at from {s}.events order by position limit 1),
       (select count(*) from (select from {s}.outbox limit 100000) o),
       (select e.recorded_at from {s}.events e
         where e.position = (select position from {s}.outbox order by position limit 1)),
       (select count(*) from (select from {s}.dead_letters limit 100000) d)"""


class TableSize(msgspec.Struct, frozen=True):
    """One table."""

    name: str
    rows: int  # about
    bytes: int
    dead_rows: int


class Sizes(msgspec.Struct, frozen=True):
    """All tables of ours, the largest first."""

    tables: list[TableSize]
    oldest_event: datetime | None
    unsent: int  # 100,000 at most, as are the letters
    oldest_unsent: datetime | None
    dead_letters: int


def table_sizes(connection: psycopg.Connection[Any], schema: str) -> Sizes:
    """Look, on an autocommit connection."""
    names = [table.name for table in metadata(schema).sorted_tables]
    with database_errors():
        tables = [TableSize(*row) for row in connection.execute(_TABLES.encode(), (schema, names))]
        ages = connection.execute(_AGES.format(s=f'"{schema}"').encode()).fetchone() or (None, 0, None, 0)
    return Sizes(tables, *ages)
