"""The statements that read a page of a stream, or of all events.

A page is bounded by the bytes of its events, before any large value is fetched; a single event may exceed them. In
place of the topic, each row has the number of rows before the cut, so a page that was cut by its bytes differs from the
last page.
"""

from functools import cache
from typing import Any

from eventkit.storage.db import text_in_schema
from eventkit.storage.outbox import NEARLY_BYTES, OTHERS

MAX_BYTES = 8_000_000  # approximate size of the events of one statement
COLUMNS = """position, null::text, stream, version, id::text, source, type, schema_version,
  to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  nullif(metadata::text, '{{}}'), data::text"""
_OF_PAGE = COLUMNS.replace("null::text", "found::text", 1)

# After the events a row at position 0, where the next events of the stream were pruned; in the same snapshot.
_STREAM = f"""(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by version rows unbounded preceding) as running
    from (select * from {{s}}.events
   where stream = %(stream)s::text and version > %(after)s::int and version < %(before)s::int and {{when}}
   order by version limit %(limit)s::int) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by version)
union all
select 0::bigint, null, null, pruned_to, null, null, null, null, null, null, null from {{s}}.streams
 where stream = %(stream)s::text and pruned_to > %(after)s::int"""
_STREAM_BACKWARDS = f"""(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by version desc rows unbounded preceding) as running
    from (select * from {{s}}.events
   where stream = %(stream)s::text and version > %(after)s::int and version < %(before)s::int and {{when}}
   order by version desc limit %(limit)s::int) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by version desc)"""
_UP_TO = "recorded_at <= %(until)s::timestamptz"

# Events above the cursor and events that have appeared in gaps, in one snapshot; the first row has the holders.
# An event that does not match is read as its position alone: only a missing position is a gap.
_LOG_FORWARDS = f"""select 0::bigint,
       ({OTHERS}),
       current_setting('transaction_isolation'), pg_is_in_recovery()::int,
       null, null, null, null::smallint, null, null, null
union all
(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by position rows unbounded preceding) as running
    from (select e.position, x.* from {{s}}.events e left join lateral (
       select e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at, e.metadata, e.data
        where {{match}}) x on true
    where e.position > %(cursor)s::bigint order by e.position limit %(above)s::int) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by position)
union all
(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by position rows unbounded preceding) as running
    from (select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) g(low, high) cross join lateral (
     select e.position, x.* from {{s}}.events e left join lateral (
       select e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at, e.metadata, e.data
        where {{match}}) x on true
      where e.position > g.low and e.position <= g.high
      order by e.position limit %(limit)s::int) r
    order by position limit %(limit)s::int) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by position)"""
_LOG_BACKWARDS = f"""(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by position desc rows unbounded preceding) as running
    from (select * from {{s}}.events
   where position > %(after)s::bigint and position < %(before)s::bigint and {{match}}
   order by position desc limit %(limit)s::int) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by position desc)"""


class ReadSql:
    """The statements for one PostgreSQL schema, built once for each kind of choice."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    @cache  # noqa: B019 a store has one, for as long as it lives
    def of_stream(self, *, backwards: bool, timed: bool) -> str:
        """Return the statement that reads a stream, up to a time where it is `timed`."""
        statement = _STREAM_BACKWARDS if backwards else _STREAM
        return text_in_schema(statement, self._schema, when=_UP_TO if timed else "true")

    @cache  # noqa: B019 likewise
    def of_all(self, match: str, *, backwards: bool) -> str:
        """Return the statement that reads all events that match a condition."""
        return text_in_schema(_LOG_BACKWARDS if backwards else _LOG_FORWARDS, self._schema, match=match)


def numbers(**params: str | int) -> dict[str, Any]:
    """Write numbers as text: psycopg types them by size, and each type would prepare the statement anew."""
    return {name: str(value) for name, value in params.items()}
