"""Events in the store as an append leaves them: with the versions of their streams, which rebuilds go by."""

from collections.abc import Sequence

import psycopg

from eventkit.domain.message import Message
from tests.projection.shop import store


def record(url: str, *logs: Sequence[Message]) -> None:
    """Record each log of one stream."""
    store(url, [item for log in logs for item in log])
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into eventkit.streams values (%s, %s)"
            " on conflict (stream) do update set version = excluded.version",
            [(log[-1].key, dict(log[-1].headers)["ce_streamversion"]) for log in logs],
        )


_SHAPE = """
select 'column ' || attname, format_type(atttypid, atttypmod) || coalesce(' ' || pg_get_expr(adbin, adrelid), '')
       || attnotnull || attidentity::text || attgenerated::text || attcollation || coalesce(attacl::text, '')
       || coalesce(col_description(attrelid, attnum), '')
  from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
 where attrelid = %(table)s::regclass and attnum > 0 and not attisdropped
union all
select 'constraint ' || conname, pg_get_constraintdef(oid) || coalesce(obj_description(oid, 'pg_constraint'), '')
  from pg_constraint where conrelid = %(table)s::regclass
union all
select 'index ' || relname,
       pg_get_indexdef(indexrelid) || indisclustered || coalesce(obj_description(oid, 'pg_class'), '')
  from pg_index join pg_class on oid = indexrelid where indrelid = %(table)s::regclass
union all
select 'owned sequence ' || objid::regclass, '' from pg_depend join pg_class s on s.oid = objid and relkind = 'S'
 where refobjid = %(table)s::regclass and deptype in ('a', 'i')
union all
select 'table', concat_ws(' ', relacl::text, relowner::regrole, reloptions, relpersistence, relreplident, reltablespace,
                          obj_description(oid, 'pg_class'),
                          (select count(*) from pg_statistic_ext where stxrelid = oid))
  from pg_class where oid = %(table)s::regclass
"""


def shape(url: str, table: str) -> dict[str, str]:
    """Return all that a table is besides its rows."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(_SHAPE, {"table": table}).fetchall())
