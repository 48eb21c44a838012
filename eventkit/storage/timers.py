"""Deadlines: set and cancelled in the caller's transaction, fired by the holder of the lease, each in one statement.

A deadline is identified by its stream and a name. Its row has the encoded event to append, so firing needs none of the
service's code. Firing and cancelling both delete the row, and only one of them can. Sync and async share the steps
(`eventkit.storage.db.execute` runs them). Firing uses its own connection. Called by `eventkit.messaging` and by process
managers.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from eventkit.domain.codec import Encoded
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.stream import StreamId
from eventkit.errors import Deposed
from eventkit.storage.db import (
    Statement,
    Steps,
    database_errors,
    in_schema,
    plain_array,
    text_array,
    text_in_schema,
)
from eventkit.storage.events import SourceTopics
from eventkit.storage.privacy import Encryption, Unsealed
from eventkit.storage.tables import shard_of

LEASE = "timers"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIMIT = 500  # deadlines that fire in one statement
_RETRY_INTERVAL = 30.0  # seconds, for streams whose events were refused
_EVENT_ERRORS = ("22", "23", "P0")  # SQLSTATE classes of one event: data, constraints, `raise` in a trigger
_STREAM_ERRORS = (*_EVENT_ERRORS, "55P03", "40")  # of one stream: events and locks


# In order of stream and name, like every statement here that waits for rows. It waits for a row that is firing, and
# then inserts a new deadline.
_SET = """insert into {s}.timers as t
         (stream, name, due_at, event_id, source, topic, shard, type, schema_version, data, metadata)
select stream, name, case when after = 'NaN' then at else clock_timestamp() + make_interval(secs => after) end, id,
       %(source)s, nullif(topic, ''), shard,
       type, schema_version, data, metadata
  from unnest(%(streams)s::text[], %(names)s::text[], %(ats)s::timestamptz[], %(afters)s::float8[], %(ids)s::uuid[],
              %(topics)s::text[], %(shards)s::smallint[], %(types)s::text[], %(schema_versions)s::smallint[],
              %(data)s::jsonb[], %(metadata)s::jsonb[])
    as d(stream, name, at, after, id, topic, shard, type, schema_version, data, metadata)
 order by stream collate "C", name collate "C"
on conflict (stream, name) do update
   set due_at = excluded.due_at, event_id = excluded.event_id, source = excluded.source, topic = excluded.topic,
       type = excluded.type, schema_version = excluded.schema_version, data = excluded.data,
       metadata = excluded.metadata, set_at = excluded.set_at
returning (extract(epoch from due_at) * 1000000)::bigint"""  # a number: the session's DateStyle may be any

_CANCEL = """with d as (
  select t.stream, t.name from {s}.timers t
   where (t.stream, t.name) in (select * from unnest(%(streams)s::text[], %(names)s::text[]))
   order by t.stream, t.name for update
)
delete from {s}.timers t using d where t.stream = d.stream and t.name = d.name returning t.stream, t.name"""

# One statement, so a hanging process holds no lock. It does not wait: a deadline that is being cancelled, and one whose
# stream is locked by an open transaction, fire the next time. Only a stream that an open transaction is creating makes
# it wait, for `lock_timeout`. As in append, the stream is locked before a position is drawn.
# It uses statement_timestamp, because with a volatile function PostgreSQL would not use the index on due_at. An
# archived stream is closed: its deadlines wait until it is restored. The mode says who publishes: a missing row
# of `installation` counts as the mode `relay`.
_FIRE = """with l as materialized (
  select epoch from {s}.leases where name = %(lease)s and epoch = %(epoch)s for share
), due as materialized (
  select t.stream, t.name from {s}.timers t, l
   where t.due_at <= coalesce(%(as_of)s::timestamptz, statement_timestamp())
     and t.stream <> all(%(busy)s::text[]) and (%(only)s::text is null or t.stream = %(only)s::text)
     and not exists (select from {s}.streams c where c.stream = t.stream and c.closed)
   order by t.due_at, t.stream, t.name limit %(limit)s
   for update of t skip locked
), free as materialized (
  select s.stream from {s}.streams s where s.stream in (select stream from due) and not s.closed
   order by s.stream for update skip locked
), gone as (
  delete from {s}.timers t using due d
   where t.stream = d.stream and t.name = d.name
     and (t.stream in (select stream from free) or not exists (select from {s}.streams s where s.stream = t.stream))
  returning t.*
), w as materialized (
  select stream, count(*)::int as n from gone group by stream
), s as (
  insert into {s}.streams as t (stream, version) select stream, n from w order by stream
  on conflict (stream) do update set version = t.version + excluded.version
  returning t.stream, t.version
), e as (
  insert into {s}.events (id, source, stream, version, type, schema_version, data, metadata)
  select g.event_id, g.source, g.stream, s.version - w.n + g.nth, g.type, g.schema_version, g.data, g.metadata
    from (select *, row_number() over (partition by stream order by due_at, name) as nth from gone) g
    join s on s.stream = g.stream join w on w.stream = g.stream
   order by g.stream, g.nth
  returning position, id
), o as (
  insert into {s}.outbox (position, topic, shard, bytes)
  select e.position, g.topic, g.shard, octet_length(g.data::text) + octet_length(g.metadata::text)
    from e join gone g on g.event_id = e.id where g.topic is not null
     and (select mode from {s}.installation) is distinct from 'debezium'
), m as (
  select {s}.to_debezium(x.topic, x.position)
    from (select g.topic, e.position from e join gone g on g.event_id = e.id
           where g.topic is not null and (select mode from {s}.installation) <> 'relay'
           order by e.position offset 0) x
)
select exists (select from l), (select count(*) from e) + 0 * (select count(*) from m),
       array(select distinct d.stream from due d where (d.stream, d.name) not in (select stream, name from gone))"""

_NEXT = """select extract(epoch from min(due_at) - clock_timestamp())::float8 from {s}.timers t
            where not exists (select from {s}.streams c where c.stream = t.stream and c.closed)"""
_DUE = """select distinct stream from (
  select stream from {s}.timers t
   where due_at <= coalesce(%s::timestamptz, statement_timestamp())
     and not exists (select from {s}.streams c where c.stream = t.stream and c.closed)
   order by due_at limit %s) d order by stream"""
_WAITING = """select event_id::text, source, stream, type, schema_version, data::text
                from {s}.timers order by due_at, stream, name"""
_LIST = """select stream, name, due_at, due_at <= clock_timestamp(), type, event_id, set_at from {s}.timers
            where stream like %(stream)s order by due_at, stream, name limit %(limit)s"""


class Deadline(NamedTuple):
    """An encoded event to append when it is due; `due` is a time, or a duration from now."""

    stream: StreamId
    name: str
    due: datetime | timedelta
    id: UUID
    event: Encoded
    metadata: str  # JSON


class Listed(msgspec.Struct, frozen=True):
    """A stored deadline, without its event's data."""

    stream: str
    name: str
    due_at: datetime
    due: bool
    type: str
    event_id: UUID
    set_at: datetime


class TimerSql:
    """The statements for one PostgreSQL schema, built once."""

    def __init__(self, schema: str) -> None:
        self.set, self.cancel, self.list = (text_in_schema(text, schema) for text in (_SET, _CANCEL, _LIST))
        self.fire, self.next, self.due = (text_in_schema(text, schema) for text in (_FIRE, _NEXT, _DUE))


def set_steps(
    sql: TimerSql, topics: SourceTopics, deadlines: Sequence[Deadline], sealing: Encryption
) -> Steps[list[datetime]]:
    """Set deadlines with different names; replace those that exist. Return their due times."""
    with database_errors():
        if topics.has_personal:
            unsealed = [Unsealed(one.stream, one.id, one.event) for one in deadlines]
            sealed = yield from sealing.sealed(topics.name, unsealed)
            deadlines = [one._replace(event=event) for one, event in zip(deadlines, sealed, strict=True)]
        rows = yield _set(sql, topics, deadlines)
    return [_EPOCH + timedelta(microseconds=due_at) for (due_at,) in rows]


def cancel_steps(sql: TimerSql, names: Sequence[tuple[str, str]]) -> Steps[set[tuple[str, str]]]:
    """Cancel deadlines by stream and name; return those that had not fired."""
    with database_errors():
        params = {"streams": text_array(one for one, _ in names), "names": text_array(one for _, one in names)}
        rows = yield sql.cancel, params
    return {(stream, name) for stream, name in rows}


def _set(sql: TimerSql, topics: SourceTopics, deadlines: Sequence[Deadline]) -> Statement:
    ats = [deadline.due if isinstance(deadline.due, datetime) else _EPOCH for deadline in deadlines]
    afters = ["NaN" if isinstance(deadline.due, datetime) else deadline.due.total_seconds() for deadline in deadlines]
    return sql.set, {
        "source": topics.name,
        "streams": text_array(deadline.stream for deadline in deadlines),
        "names": text_array(deadline.name for deadline in deadlines),
        "ats": text_array(at.isoformat() for at in ats),
        "afters": plain_array(afters),
        "ids": plain_array(deadline.id.hex for deadline in deadlines),
        "topics": text_array(topics.outgoing(deadline.stream) or "" for deadline in deadlines),
        "shards": plain_array(shard_of(deadline.stream) for deadline in deadlines),
        "types": text_array(deadline.event.type for deadline in deadlines),
        "schema_versions": plain_array(deadline.event.schema_version for deadline in deadlines),
        "data": text_array(deadline.event.data for deadline in deadlines),
        "metadata": text_array(deadline.metadata for deadline in deadlines),
    }


def waiting(connection: psycopg.Connection[Any], schema: str) -> list[EncodedEvent]:
    """Return the stored events of all deadlines, the soonest first; for tests."""
    names = ("id", "source", "stream", "type", "schema_version", "data")
    rows = connection.execute(in_schema(_WAITING, schema)).fetchall()
    return [EncodedEvent(version=0, time="", **dict(zip(names, row, strict=True))) for row in rows]


class DueTimers:
    """The deadlines of one schema, on an autocommit connection with a `lock_timeout`.

    `epoch` is that of the lease. `refused` has the streams whose events PostgreSQL refuses, with the SQLSTATE: the
    deadlines of other streams fire.
    """

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, epoch: int) -> None:
        self._connection = connection
        self._sql = TimerSql(schema)
        self._epoch = epoch
        self.refused: dict[str, str] = {}
        self._retried_at = 0.0  # monotonic time of the last retry of refused streams

    def fire(self, as_of: datetime | None = None) -> int:
        """Append the events of all deadlines due now, or by the time `as_of`; return their number.

        Raises Deposed where another process holds the lease.
        """
        if time.monotonic() - self._retried_at > _RETRY_INTERVAL:
            self.refused.clear()
            self._retried_at = time.monotonic()
        fired, busy = 0, list(self.refused)
        while True:
            count, left = self._fire_page(as_of, busy)
            fired += count
            busy += left
            if count + len(left) < LIMIT:
                return fired

    def next_in(self) -> float | None:
        """Return the seconds until the next deadline is due; None when there is none."""
        with database_errors():
            row = self._connection.execute(self._sql.next).fetchone()
        return row[0] if row else None

    def _fire_page(self, as_of: datetime | None, busy: Sequence[str]) -> tuple[int, list[str]]:
        try:
            return self._fire(as_of, busy)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(_STREAM_ERRORS):
                raise
            return self._fire_stream_by_stream(as_of, busy)

    def _fire_stream_by_stream(self, as_of: datetime | None, busy: Sequence[str]) -> tuple[int, list[str]]:
        """Fire without the streams that open transactions are creating, and those whose events are refused."""
        fired, left = 0, list[str]()
        for (stream,) in self._connection.execute(self._sql.due, (as_of, LIMIT)).fetchall():
            if stream in busy:
                continue
            try:
                count, more = self._fire(as_of, busy, only=stream)
            except psycopg.Error as error:
                state = error.sqlstate or ""
                if not state.startswith(_STREAM_ERRORS):
                    raise
                if state.startswith(_EVENT_ERRORS):
                    self.refused[stream] = state
                count, more = 0, [stream]
            fired += count
            left += more
        return fired, left

    def _fire(self, as_of: datetime | None, busy: Sequence[str], *, only: str | None = None) -> tuple[int, list[str]]:
        params = {
            "lease": LEASE,
            "epoch": self._epoch,
            "as_of": as_of,
            "busy": text_array(busy),
            "only": only,
            "limit": LIMIT,
        }
        row = self._connection.execute(self._sql.fire, params).fetchone()
        # crash point: fired, result not received -> the commit has deleted the rows, or the next process fires them
        held, count, left = row or (False, 0, [])
        if not held:
            raise Deposed(f"lease {LEASE!r}, epoch {self._epoch}: another process holds it now; nothing was fired")
        return count, left


def listed(connection: psycopg.Connection[Any], schema: str, *, category: str | None, limit: int) -> list[Listed]:
    """Return the next deadlines, of all streams or of one category."""
    pattern = f"{category.replace('_', chr(92) + '_')}-%" if category else "%"
    with database_errors():
        rows = connection.execute(TimerSql(schema).list, {"stream": pattern, "limit": limit}).fetchall()
    return [Listed(*row) for row in rows]
