"""The relay's side of the outbox: reads unsent events.

The table has the unsent events, and a relay that starts knows nothing else. `settlement` has the relay's writes,
`parking` its parked streams.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import Message, message_of, plain_headers
from eventkit.domain.metadata import RESERVED
from eventkit.storage.db import database_errors, in_schema, plain_array, qualified, quoted, text_array
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

EVENT = (
    "e.position, {topic} as topic, e.stream, e.version, e.id, e.source, e.type, e.schema_version, "
    "e.recorded_at, e.metadata, e.data, {bytes} as bytes"
)

# The approximate size of an event. The stored size of a compressed value is up to 87 (pglz) or 255 (lz4) times smaller
# than the value, and measuring the value would fetch it.
_NEARLY = """pg_column_size(e.{column}) * case pg_column_compression(e.{column})
       when 'pglz' then 16 when 'lz4' then 40 else 1 end"""
NEARLY_BYTES = f"({_NEARLY.format(column='data')} + {_NEARLY.format(column='metadata')})"

# The rest of a row, after position and topic, in the order in which `encoded` reads it; for one `format`. Readers get
# the amendment of an event that the broker refused. Use it with `from events e {AMENDED}`: one look-up an event by the
# primary key (`offset 0`, because the statistics of a table that is nearly always empty mislead the planner).
AS_TEXT = """stream, version::text, id::text, source, coalesce(a.type, e.type),
       nullif(coalesce(a.schema_version, e.schema_version), 1)::text, btrim(to_json(recorded_at)::text, '"'),
       nullif(coalesce(a.metadata, e.metadata)::text, '{{}}'), coalesce(a.data, e.data)::text"""
AMENDED = """left join lateral (select x.type, x.schema_version, x.metadata, x.data from {s}.amendments x
      where x.position = e.position offset 0) a on true"""

# One snapshot: gaps, spans and rows above the cursor, in order of position; and the holders, read after the snapshot.
# The plan is three nested loops over primary keys, and `offset 0` keeps it independent of the statistics. The running
# sum bounds the bytes before any large value is fetched. Holders are read only where there are rows, or gaps that wait
# for a holder to end: with thousands of other sessions' locks they cost more than the rest. Where there are rows, the
# statement makes them durable (`eventkit.storage.outbox.barrier`).
FETCH = f"""with found as (
  (select {{event}} from {{s}}.events e {{pending_of_event}} where e.position > %(cursor)s
    order by e.position limit %(above)s)
  union all
  (select {{event}} from unnest(%(positions)s::bigint[]) g(position)
     join {{s}}.events e using (position) {{pending_of_event}})
  union all
  (select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) s(low, high) cross join lateral (
     select {{event}} from {{span}} order by o.position limit %(limit)s) r)
), page as materialized (
  select * from (select *, sum(bytes) over (order by position rows unbounded preceding) as running
                   from found order by position limit %(limit)s) p
   where running - bytes < %(max_bytes)s
)
select 0::bigint, case when %(watch)s or exists (select from found) then ({HOLDERS}) end,
       (select count(*)::text from found), null, null, null, null, null, {SERVER},
       case when exists (select from page) then {{barrier}} end, null
union all
select position, topic, {AS_TEXT} from page e {AMENDED}"""

_OF_OUTBOX = {
    "event": EVENT.format(topic="o.topic", bytes="coalesce(o.bytes, 0)"),
    "pending_of_event": """left join lateral (select o.topic, o.bytes from {s}.outbox o
       where o.position = e.position and {wanted} offset 0) o on true""",
    "span": """{s}.outbox o cross join lateral (select * from {s}.events x where x.position = o.position offset 0) e
      where o.position > s.low and o.position <= s.high and o.position <> all(%(in_flight)s::bigint[]) and {wanted}""",
}

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
        wanted = _wanted(scope, schema)
        parts = {name: part.format(s=quoted(schema), wanted=wanted) for name, part in _OF_OUTBOX.items()}
        self._pages = Pages(connection, schema, parts)

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


def _wanted(scope: Scope, schema: str) -> str:
    """Return the condition of a scope."""
    # In the same snapshot as the rows, which are of an append that has read it.
    sends = RELAY_SENDS.format(s=quoted(schema))
    own = [of_parts(scope.parts, scope.of)] if len(scope.parts) < scope.of else []
    not_held = "o.topic <> all(%(held)s::text[])"
    return " and ".join([sends, *own, not_held, not_parked(scope.parked, schema)])


def read_horizon(connection: psycopg.Connection[Any], schema: str) -> Horizon:
    """Read the highest visible position, then the holders, in one statement."""
    with database_errors():
        position, holders, server = connection.execute(in_schema(_HORIZON, schema)).fetchone() or (0, "", "")
    return Horizon(position, split_holders(holders), server)


def split_holders(text: str) -> frozenset[str]:
    """Read the list of holders."""
    return frozenset(text.split(",")) if text else frozenset()


class Pages:
    """Runs the reading statement on an autocommit connection; `parts` say from which tables.

    The statement's first row has the holders, the number of rows before the cut, and the server.
    """

    def __init__(self, connection: psycopg.Connection[Any], schema: str, parts: Mapping[str, str]) -> None:
        self._connection = connection
        self._cursor = connection.cursor(binary=True)
        self._schema = schema
        self._parts = parts
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
        self._statement = str(qualified(FETCH.format(s=quoted(self._schema), barrier=barrier.sql, **self._parts)))
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


def _set_metadata(event: EncodedEvent, metadata: str) -> None:
    fields = msgspec.json.decode(metadata, type=dict[str, msgspec.Raw])
    for name in RESERVED:
        if name in fields:
            setattr(event, name, msgspec.json.decode(fields.pop(name), type=str | None))
    if fields:
        event.extra = msgspec.json.encode(fields).decode()
