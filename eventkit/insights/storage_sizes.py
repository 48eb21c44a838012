"""Reads the sizes of the tables by PostgreSQL's statistics, and the inbox."""

from eventkit.insights.answers import Amount, SizesInsight, TableInsight
from eventkit.insights.reader import InsightReader
from eventkit.storage.tables import metadata

_TABLES = """select relname, greatest(n_live_tup, 0), pg_total_relation_size(relid), n_dead_tup
               from pg_stat_user_tables where schemaname = %(schema)s and relname = any(%(names)s) order by 3 desc, 1"""
_OLDEST = """select (select received_at from {s}.inbox order by received_at limit 1),
       (select recorded_at from {s}.events order by position limit 1)"""
_INBOX = "select from {s}.inbox"


def sizes(reader: InsightReader, *, exact: bool = False) -> SizesInsight:
    """Return the sizes, the largest table first; numbers of rows are estimates, but the inbox's may be exact."""
    names = [table.name for table in metadata(reader.schema).sorted_tables]
    tables = tuple(
        TableInsight(name=name, rows=Amount(value=rows, is_exact=False), bytes=size, dead_rows=dead)
        for name, rows, size, dead in reader.rows(_TABLES, {"schema": reader.schema, "names": names})
    )
    message_at, event_at = reader.row(_OLDEST)
    return SizesInsight(
        tables=tables,
        bytes=sum(table.bytes for table in tables),
        inbox=reader.amount(_INBOX, exact=exact),
        oldest_message_at=message_at,
        oldest_event_at=event_at,
    )
