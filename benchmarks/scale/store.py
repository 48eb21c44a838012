"""A database with so many stored events, of which the last so many wait in the outbox, as often as one likes.

Filling is not measured and goes the fastest way: rows made on the server, without constraints, which are
put back as they were. Positions, versions and rows are those that appends would have made.
"""

from typing import Any
from zlib import crc32

import psycopg
from psycopg import sql

from eventkit.storage.outbox import change_part_count
from eventkit.storage.tables import SHARDS

_CHUNK = 1_000_000  # rows of a statement
_EVENTS = """
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
select gen_random_uuid(), 'bench', 'order-' || n %% %(streams)s::int, n / %(streams)s::int + 1, 'OrderPlaced', 1,
       jsonb_build_object('customer', 'customer-' || n %% 1000, 'total', '12.50', 'note', rpad('', 140, 'word ')), '{}'
  from generate_series(%(first)s::bigint, %(last)s::bigint) n
"""
_STREAMS = """
insert into eventkit.streams (stream, version)
select 'order-' || n, (%(events)s::bigint - n - 1) / %(streams)s::bigint + 1
  from generate_series(0, %(streams)s::bigint - 1) n
"""
_OUTBOX = """
insert into eventkit.outbox (position, topic, shard, bytes)
select e.position, %(topic)s, s.shard, octet_length(e.data::text) + 2
  from eventkit.events e join unnest(%(names)s::text[], %(shards)s::smallint[]) s(stream, shard) using (stream)
 where e.position > %(after)s
"""
_CONSTRAINTS = """select conname, pg_get_constraintdef(oid) from pg_constraint
                   where conrelid = 'eventkit.events'::regclass and contype in ('p', 'u')"""


class Store:
    """One database."""

    def __init__(self, url: str, *, events: int, streams: int) -> None:
        """Store so many events, in turns of so many streams; nothing waits."""
        self.url = url
        self.events = events
        self.streams = min(streams, events)
        self._connection = psycopg.connect(url, autocommit=True)
        if events:
            self._fill()

    def wait(self, events: int, topic: str) -> None:
        """Let the last so many events wait; leaves nothing of that for the server to do while something is measured."""
        names = [f"order-{number}" for number in range(self.streams)]
        shards = [crc32(name.encode()) % SHARDS for name in names]
        self._connection.execute("truncate eventkit.outbox")
        self._connection.execute(
            _OUTBOX, {"names": names, "shards": shards, "topic": topic, "after": self.events - events}
        )
        self._settle_down("eventkit.outbox")

    def share(self, parts: int) -> None:
        """Divide the streams into so many parts, which relays share."""
        change_part_count(self._connection, "eventkit", parts, actor="benchmark")

    def waiting(self) -> int:
        """Return how many events wait."""
        return int(self._one("select count(*) from eventkit.outbox"))

    def leases(self) -> int:
        """Return how many parts of a relay have been taken, over all time."""
        return int(self._one("select coalesce(sum(epoch), 0) from eventkit.leases where name like 'relay %/%'"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _fill(self) -> None:
        self._connection.execute("set maintenance_work_mem = '512MB'")
        constraints = self._connection.execute(_CONSTRAINTS).fetchall()
        for name, _ in constraints:
            self._alter("drop constraint {}", sql.Identifier(name))
        for first in range(0, self.events, _CHUNK):
            last = min(first + _CHUNK, self.events) - 1
            self._connection.execute(_EVENTS, {"streams": self.streams, "first": first, "last": last})
        for name, definition in constraints:
            self._alter("add constraint {} {}", sql.Identifier(name), sql.SQL(definition))
        self._connection.execute(_STREAMS, {"streams": self.streams, "events": self.events})
        self._settle_down("eventkit.events, eventkit.streams")

    def _alter(self, change: str, *words: sql.Composable) -> None:
        self._connection.execute(sql.SQL("alter table eventkit.events " + change).format(*words))

    def _settle_down(self, tables: str) -> None:
        self._connection.execute(f"vacuum (analyze) {tables}".encode())
        self._connection.execute("checkpoint")

    def _one(self, query: str) -> Any:  # noqa: ANN401 a database's value
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else None
