"""The relay's side of the outbox: reads unsent events.

The table has the unsent events, and a relay that starts knows nothing else. `settlement` has the relay's writes,
`parking` its parked streams.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import NOT_KEPT, Headers, Message, PlainMessage, message_of, plain_headers
from eventkit.domain.metadata import RESERVED
from eventkit.storage.db import database_errors, in_schema, plain_array, text_array, text_in_schema
from eventkit.storage.debezium import RELAY_SENDS
from eventkit.storage.outbox.barrier import Barrier
from eventkit.storage.outbox.gap_reader import Ask, Horizon, LogPage, Row
from eventkit.storage.outbox.parking import Parked, not_parked, read_parked
from eventkit.storage.outbox.part_leases import of_parts

# PostgreSQL settings for a connection that reads a few rows from the end of large tables, by their keys. There is one
# good plan, independent of the statistics, and planning a read anew would cost twice as much as the read.
READING = {
    "plan_cache_mode": "force_generic_plan",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "work_mem": "64MB",
    "synchronous_commit": "on",
    "TimeZone": "UTC",  # an event's time travels in UTC
}

# A commit clears the virtual id (`n/0`) as it becomes visible, and releases the lock a moment later. COMMIT PREPARED
# keeps the id until it releases the lock. So a prepared transaction that this snapshot sees gets a `/0` here: otherwise
# the next version of its stream could be read while it still seems open. Its transaction id is that of its
# `transactionid` lock, counted from the snapshot's; all such locks are read, because PREPARE transfers them one by one.
HOLDERS = """select coalesce(string_agg(name, ','), '') from (
  select virtualtransaction || case when bool_or(pid is null) and coalesce(pg_visible_in_snapshot((
           ((min(transactionid::text::bigint) - min(here) + 2147483648) & 4294967295) - 2147483648 + min(here)
         )::text::xid8, pg_current_snapshot()), true) then '/0' else '' end as name
    from pg_catalog.pg_locks, (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as here) xmax
   where granted and (locktype = 'transactionid' and mode = 'ExclusiveLock'
      or locktype = 'relation' and mode = 'RowExclusiveLock' and relation = '{s}.events'::regclass
         and database = (select oid from pg_catalog.pg_database where datname = current_database()))
   group by virtualtransaction having bool_or(locktype = 'relation')) holders"""
OTHERS = HOLDERS.replace("where granted", "where granted and pid is distinct from pg_backend_pid()")

# Changes when positions may be drawn a second time: with a restart of the server, and with a restore of the table.
SERVER = "concat_ws(' ', pg_is_in_recovery(), pg_postmaster_start_time(), pg_relation_filenode('{s}.events'::regclass))"

_HORIZON = f"select coalesce(max(position), 0), ({HOLDERS}), {SERVER} from {{s}}.events"

# The approximate size of an event. The stored size of a compressed value is up to 87 (pglz) or 255 (lz4) times smaller
# than the value, and measuring the value would fetch it.
NEARLY_BYTES = """(pg_column_size(e.data) * case pg_column_compression(e.data)
       when 'pglz' then 16 when 'lz4' then 40 else 1 end + pg_column_size(e.metadata) *
       case pg_column_compression(e.metadata) when 'pglz' then 16 when 'lz4' then 40 else 1 end)"""

# The rest of a row, after position and topic, in the order in which `encoded` reads it. Readers get the amendment of an
# event that the broker refused. Use it with `from events e {AMENDED}`: one look-up an event by the primary key
# (`offset 0`, because the statistics of a table that is nearly always empty mislead the planner), and none while the
# table is empty, which saves a twentieth of a page's time.
AS_TEXT = """stream, version::text, id::text, source, coalesce(a.type, e.type),
       nullif(coalesce(a.schema_version, e.schema_version), 1)::text, btrim(to_json(recorded_at)::text, '"'),
       nullif(coalesce(a.metadata, e.metadata)::text, '{{}}'), coalesce(a.data, e.data)::text"""
AMENDED = """left join lateral (select x.type, x.schema_version, x.metadata, x.data from {s}.amendments x
      where x.position = e.position and (select exists (select from {s}.amendments)) offset 0) a on true"""

# One snapshot: rows above the cursor, gaps and spans, in order of position; and the holders, read after the snapshot.
# The plan is three nested loops over primary keys, and `offset 0` keeps it independent of the statistics. The running
# sum bounds the bytes before any large value is fetched. Only `page` reads `found`: another reader would make
# PostgreSQL copy all rows once more, a fifth of the statement's time. Holders are read only where there are rows, or
# gaps that wait for a holder to end: with thousands of other sessions' locks they cost more than the rest.
# `wanted` is the condition of the relay's scope, and `barrier` makes the rows durable, as far as the role may
# (`eventkit.storage.outbox.barrier`).
_FETCH = f"""with found as (
  (select e.position, o.topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
          e.metadata, e.data, coalesce(o.bytes, 0) as bytes
     from {{s}}.events e
     left join lateral (select o.topic, o.bytes from {{s}}.outbox o
                         where o.position = e.position and {{wanted}} offset 0) o on true
    where e.position > %(cursor)s order by e.position limit %(above)s)
  union all
  (select e.position, o.topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
          e.metadata, e.data, coalesce(o.bytes, 0) as bytes
     from unnest(%(positions)s::bigint[]) g(position) join {{s}}.events e using (position)
     left join lateral (select o.topic, o.bytes from {{s}}.outbox o
                         where o.position = e.position and {{wanted}} offset 0) o on true)
  union all
  (select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) s(low, high) cross join lateral (
     select e.position, o.topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at,
            e.metadata, e.data, coalesce(o.bytes, 0) as bytes
       from {{s}}.outbox o
      cross join lateral (select * from {{s}}.events x where x.position = o.position offset 0) e
      where o.position > s.low and o.position <= s.high and o.position <> all(%(in_flight)s::bigint[]) and {{wanted}}
      order by o.position limit %(limit)s) r)
), page as materialized (
  select *, sum(bytes) over (order by position rows unbounded preceding) as running
    from found order by position limit %(limit)s
)
select 0::bigint, case when %(watch)s or exists (select from page) then ({HOLDERS}) end,
       (select count(*)::text from page), null, null, null, null, null, {SERVER},
       case when exists (select from page) then {{barrier}} end, null
union all
select position, topic, {AS_TEXT} from page e {AMENDED} where running - bytes < %(max_bytes)s"""

_PAUSED = "select name, paused_by, reason from {s}.pauses where kind = 'topic' order by name"


class Scope(msgspec.Struct, frozen=True):
    """The rows that a relay reads: some of `of` equal parts of the shards, without held topics and parked streams."""

    parts: Sequence[int] = (0,)
    of: int = 1
    held: Sequence[str] = ()
    parked: Parked = Parked()


class Outbox:
    """The unsent events of one relay, over one autocommit connection; a `PositionSource` of the reader."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, scope: Scope | None = None) -> None:
        scope = scope or Scope()
        self._connection = connection  # used by one thread
        self._schema = schema
        self._cursor = connection.cursor(binary=True)
        self._params = {"held": text_array(scope.held), **scope.parked.params()}
        self._pages = Pages(connection, schema, _FETCH, wanted=_wanted(scope))

    def horizon(self) -> Horizon:
        """Return the highest visible position and the possible owners of lower ones that are not visible."""
        return read_horizon(self._connection, self._schema)

    def fetch(self, ask: Ask) -> LogPage:
        """Read unsent events in one statement; the returned events are durable."""
        return self._pages.fetch(ask, self._params)

    def parked(self) -> Parked:
        """Return the parked streams; it reads about a thousand at most."""
        return read_parked(self._cursor, self._schema)

    def paused(self) -> dict[str, str]:
        """Return the topics that an operator has paused, each with who did it and why."""
        with database_errors():
            rows = self._cursor.execute(in_schema(_PAUSED, self._schema)).fetchall()
        return {topic: f"{by} ({reason})" if reason else by for topic, by, reason in rows}


def _wanted(scope: Scope) -> str:
    """Return the condition of a scope, which depends on the relay's parts and on the number of parked streams."""
    # The mode is read in the snapshot of the rows; the append that wrote them has read it, too.
    own = [of_parts(scope.parts, scope.of)] if len(scope.parts) < scope.of else []
    return " and ".join([RELAY_SENDS, *own, "o.topic <> all(%(held)s::text[])", not_parked(scope.parked)])


def read_horizon(connection: psycopg.Connection[Any], schema: str) -> Horizon:
    """Read the highest visible position, then the holders, in one statement."""
    with database_errors():
        position, holders, server = connection.execute(in_schema(_HORIZON, schema)).fetchone() or (0, "", "")
    return Horizon(position, split_holders(holders), server)


def split_holders(text: str) -> frozenset[str]:
    """Read the list of holders."""
    return frozenset(text.split(",")) if text else frozenset()


class Pages:
    """Runs the reading statement of the outbox, or of the whole log, on an autocommit connection.

    The statement's first row has the holders, the number of rows before `max_bytes` cuts the page, and the server.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, statement: str, *, wanted: str = "true"
    ) -> None:
        """Read with `statement`, and only the rows of the outbox that are `wanted`."""
        self._connection = connection
        self._cursor = connection.cursor(binary=True)
        self._schema = schema
        self._source = statement
        self._wanted = wanted
        self._statement = ""
        self._barrier: Barrier | None = None

    def fetch(self, ask: Ask, extra: Mapping[str, Any]) -> LogPage:
        """Read one page; its rows are durable."""
        with database_errors():
            barrier = self._barrier or self._begin(Barrier(self._connection, self._schema))
            params = {
                **extra,
                **barrier.params,
                "cursor": ask.cursor,
                "above": ask.limit if ask.above else 0,
                "positions": plain_array(ask.positions),
                "lows": plain_array(low for low, _ in ask.spans),
                "highs": plain_array(high for _, high in ask.spans),
                "limit": ask.limit,
                "max_bytes": ask.max_bytes,
                "watch": ask.watch,
            }
            # Positions in flight are part of the statement, which is planned anew: only a constant array is hashed.
            statement = self._statement.replace("%(in_flight)s", f"'{plain_array(ask.in_flight)}'")
            head, *rows = self._cursor.execute(statement, params, prepare=not ask.in_flight).fetchall()
            barrier.pass_through(head[9])
        complete = len(rows) < ask.limit and len(rows) == int(head[2])
        return LogPage(rows, split_holders(head[1] or ""), complete, head[8])

    def _begin(self, barrier: Barrier) -> Barrier:
        self._barrier = barrier
        self._statement = text_in_schema(self._source, self._schema, barrier=barrier.sql, wanted=self._wanted)
        return barrier


def encoded(row: Row) -> EncodedEvent:
    """Make an encoded event of a row."""
    position, _, stream, version, event_id, source, event_type, schema_version, time, metadata, data = row
    event = EncodedEvent(
        id=event_id,
        source=source,
        stream=stream,
        version=int(version),
        type=event_type,
        schema_version=int(schema_version or 1),
        data=data,
        time=time,
        position=position,
    )
    if metadata is not None:
        _set_metadata(event, metadata)
    return event


def message(row: Row) -> Message:
    """Return a row as a message, tagged with its position.

    An event without metadata, in its first schema, needs no encoded event in between.
    """
    position, topic, stream, version, event_id, source, event_type, schema_version, time, metadata, data = row
    if metadata is not None or schema_version is not None:
        return message_of(encoded(row), topic, tag=position)
    return Message(topic, stream, data, plain_headers(event_id, source, event_type, time, version), position)


def received(row: Row) -> Message:
    """Return a row as a broker would deliver its message, for readers that apply events: they decode this form best."""
    position, topic, stream, version, event_id, source, event_type, schema_version, time, metadata, data = row
    if metadata is not None or schema_version is not None:
        sent = message(row)
        headers: Headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in sent.headers]
        return Message(topic, stream, data, headers, position)
    about = event_id.encode(), source.encode(), event_type.encode(), time.encode(), int(version)
    return PlainMessage(topic, stream, data, NOT_KEPT, position, None, *about)


def _set_metadata(event: EncodedEvent, metadata: str) -> None:
    fields = msgspec.json.decode(metadata, type=dict[str, msgspec.Raw])
    for name in RESERVED:
        if name in fields:
            setattr(event, name, msgspec.json.decode(fields.pop(name), type=str | None))
    if fields:
        event.extra = msgspec.json.encode(fields).decode()
