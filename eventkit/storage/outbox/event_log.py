"""A source of all events for the reader: the store in order of position, under concurrent writers.

No row leaves `events`. So a reader that reads a span again may return the same events again, and the caller must skip
the events that it has.
"""

from typing import Any

import psycopg

from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.outbox.gap_reader import Ask, Horizon, LogPage
from eventkit.storage.outbox.outbox import AMENDED, AS_TEXT, HOLDERS, NEARLY_BYTES, SERVER, Pages, read_horizon

# As the outbox's statement, over all events: none has a topic, and an event's size is estimated.
_FETCH = f"""with found as (
  (select e.position, '' as topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
          e.metadata, e.data, {NEARLY_BYTES} as bytes
     from {{s}}.events e where e.position > %(cursor)s order by e.position limit %(above)s)
  union all
  (select e.position, '' as topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
          e.metadata, e.data, {NEARLY_BYTES} as bytes
     from unnest(%(positions)s::bigint[]) g(position) join {{s}}.events e using (position))
  union all
  (select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) s(low, high) cross join lateral (
     select e.position, '' as topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
            e.metadata, e.data, {NEARLY_BYTES} as bytes
       from {{s}}.events e
      where e.position > s.low and e.position <= s.high and e.position <> all(%(in_flight)s::bigint[])
      order by e.position limit %(limit)s) r)
), page as materialized (
  select *, sum(bytes) over (order by position rows unbounded preceding) as running
    from found order by position limit %(limit)s
)
select 0::bigint, case when %(watch)s or exists (select from page) then ({HOLDERS}) end,
       (select count(*)::text from page), null, null, null, null, null, {SERVER},
       case when exists (select from page) then {{barrier}} end, null
union all
select position, topic, {AS_TEXT} from page e {AMENDED} where running - bytes < %(max_bytes)s"""

_DRAWN = """select greatest((select max(position) from {s}.events), pg_sequence_last_value(q), 0)
  from (select pg_get_serial_sequence('{s}.events', 'position')::regclass as q) x
 where has_sequence_privilege(q, 'select')"""


class EventLog:
    """All events, over one autocommit connection; a `PositionSource` of the reader."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection  # used by one thread
        self._schema = schema
        self._pages = Pages(connection, schema, _FETCH)

    def horizon(self) -> Horizon:
        """Return the highest visible position and the possible owners of lower ones that are not visible."""
        return read_horizon(self._connection, self._schema)

    def drawn(self) -> int | None:
        """Return the highest position that was ever drawn; None where this role may not see it."""
        with database_errors():
            row = self._connection.execute(in_schema(_DRAWN, self._schema)).fetchone()
        return int(row[0]) if row else None

    def fetch(self, ask: Ask) -> LogPage:
        """Read events in one statement; the returned events are durable."""
        return self._pages.fetch(ask, {})
