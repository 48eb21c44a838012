"""Records the handlers whose events wait, with the reason; each process writes its own rows.

A process writes all its rows of a projection in one statement: when they change, and every few seconds while there are
any. A row that was not written for a minute has expired: its process is dead, and the next process that writes deletes
it. A reason names an exception and a place in the code, and has no data of the event.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from eventkit.storage.db import database_errors, in_schema

ALIVE = 60.0  # seconds until a row expires

# Rows of dead processes are deleted without waiting for another process that does the same.
_WRITE = """with w as materialized (
  select * from unnest(%(sources)s::text[], %(types)s::text[], %(handlers)s::text[], %(opens)s::bool[],
                       %(sinces)s::float8[], %(reasons)s::text[], %(attempts)s::int[], %(streams)s::int[],
                       %(nexts)s::float8[])
    w(source, type, handler, is_open, since, reason, attempts, streams, next)
), old as materialized (
  select process, source, type from {s}.handler_waits h
   where projection = %(projection)s
     and (case when process = %(process)s then (source, type) not in (select source, type from w)
               else seen_at < clock_timestamp() - make_interval(secs => %(alive)s) end)
     for update skip locked
), gone as (
  delete from {s}.handler_waits h using old o
   where h.projection = %(projection)s and (h.process, h.source, h.type) = (o.process, o.source, o.type)
)
insert into {s}.handler_waits as h
       (projection, process, source, type, handler, is_open, since, reason, attempts, streams, next_at, seen_at)
select %(projection)s, %(process)s, source, type, handler, is_open, n.now - make_interval(secs => since), reason,
       attempts, streams, n.now + make_interval(secs => next), n.now
  from w, (select clock_timestamp() as now) n order by source, type
on conflict (projection, process, source, type) do update
   set handler = excluded.handler, is_open = excluded.is_open, since = excluded.since, reason = excluded.reason,
       attempts = excluded.attempts, streams = excluded.streams, next_at = excluded.next_at,
       seen_at = excluded.seen_at"""
_READ = """select projection, process, source, type, handler, is_open, since, reason, attempts, streams, next_at,
                  seen_at,
                  extract(epoch from clock_timestamp() - since)::float8,
                  extract(epoch from next_at - clock_timestamp())::float8
             from {s}.handler_waits
            where seen_at > clock_timestamp() - make_interval(secs => %(alive)s)
              and (%(projection)s::text is null or projection = %(projection)s)
            order by projection, source, type, process"""
_FORGET = "delete from {s}.handler_waits where projection = %s"


class WaitingHandler(msgspec.Struct, frozen=True):
    """A handler whose events wait in this process; times are seconds from now."""

    source: str
    type: str
    handler: str
    is_open: bool  # the breaker; else single streams are retried
    since: float  # seconds ago
    reason: str
    attempts: int
    streams: int
    next: float


class HandlerWait(msgspec.Struct, frozen=True):
    """A handler whose events wait in one process."""

    projection: str
    process: str
    source: str
    type: str
    handler: str
    is_open: bool  # the breaker: the handler's events of all streams wait; else single streams are retried
    since: datetime
    reason: str  # class and place of the last error
    attempts: int
    streams: int
    next_at: datetime
    seen_at: datetime
    seconds: float  # since `since`
    next_in: float  # seconds until the next attempt


class HandlerWaits:
    """The waiting handlers of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def write(
        self, connection: psycopg.Connection[Any], projection: str, process: str, waiting: Sequence[WaitingHandler]
    ) -> None:
        """Replace a process's rows of a projection; delete those of dead processes."""
        columns = {
            "sources": [each.source for each in waiting],
            "types": [each.type for each in waiting],
            "handlers": [each.handler for each in waiting],
            "opens": [each.is_open for each in waiting],
            "sinces": [each.since for each in waiting],
            "reasons": [each.reason for each in waiting],
            "attempts": [each.attempts for each in waiting],
            "streams": [each.streams for each in waiting],
            "nexts": [each.next for each in waiting],
        }
        params = {**columns, "projection": projection, "process": process, "alive": ALIVE}
        connection.execute(self._sql(_WRITE), params)

    def all(self, connection: psycopg.Connection[Any], projection: str | None = None) -> list[HandlerWait]:
        """Return the waiting handlers of live processes, of all projections or of one."""
        params = {"alive": ALIVE, "projection": projection}
        with database_errors():
            return [HandlerWait(*row) for row in connection.execute(self._sql(_READ), params)]

    def forget(self, connection: psycopg.Connection[Any], projection: str) -> None:
        """Delete a projection's rows."""
        connection.execute(self._sql(_FORGET), (projection,))

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
