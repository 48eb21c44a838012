"""A backlog of events, written on the server by SQL: the rows that `append` writes, in streams, events and outbox."""

from typing import Any
from uuid import uuid4
from zlib import crc32

import psycopg

from eventkit.storage.tables import SHARDS

TOPIC = f"bench.backlog-{uuid4().hex[:8]}"  # a run's own: a broker may have had another
PARTITIONS = 6

_INSERT = """
with s as materialized (
  select * from unnest(%(streams)s::text[], %(shards)s::smallint[]) with ordinality s(stream, shard, nth)
), raised as (
  insert into eventkit.streams as t (stream, version) select stream, %(each)s from s
  on conflict (stream) do update set version = t.version + excluded.version returning stream, version
), e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select gen_random_uuid(), 'bench', stream, version - %(each)s + n, 'OrderPlaced', 1,
         jsonb_build_object('customer', 'number-' || (version - %(each)s + n - 1) * %(count)s + nth - 1 || '-',
                            'total', '12.50', 'note', rpad('', %(note)s, 'word ')), '{}'
    from raised join s using (stream) cross join generate_series(1, %(each)s) n
   order by n, nth
  returning position, stream, data
)
insert into eventkit.outbox (position, topic, shard, bytes)
select position, %(topic)s, shard, octet_length(data::text) + 2 from e join s using (stream)
"""

_REFILL = """
insert into eventkit.outbox (position, topic, shard, bytes)
select e.position, %(topic)s, s.shard, octet_length(e.data::text) + 2
  from eventkit.events e join unnest(%(streams)s::text[], %(shards)s::smallint[]) s(stream, shard) using (stream)
 order by e.position desc limit %(events)s
"""


class Backlog:
    """The outbox of one database, filled again and again with the same number of events.

    An event has its number in its data, as those of an open loop: number n is in stream n % streams, as version
    n // streams + 1.
    """

    def __init__(self, url: str, *, events: int, streams: int, size: int, topic: str = TOPIC) -> None:
        """Write nothing yet; `size` is that of an event's data as JSON."""
        streams = min(streams, events)
        names = [f"order-{number}" for number in range(streams)]
        self._each = events // streams
        self.events = self._each * streams
        self._places: dict[str, Any] = {
            "streams": names,
            "shards": [crc32(name.encode()) % SHARDS for name in names],
            "count": streams,
            "topic": topic,
        }
        self._note = max(0, size - len('{"note": "", "total": "12.50", "customer": "number-123456-"}'))
        self._filled = False
        self._connection = psycopg.connect(url, autocommit=True)

    def fill(self) -> None:
        """Fill the outbox: with new events, and from then on with the same ones again, as if they had not been sent.

        Leaves nothing of the filling for the server to do while something is measured.
        """
        if self._filled:
            self._connection.execute(_REFILL, {**self._places, "events": self.events})
        else:
            self._connection.execute(_INSERT, {**self._places, "each": self._each, "note": self._note})
        self._filled = True
        self._connection.execute("vacuum (analyze) eventkit.streams, eventkit.events, eventkit.outbox")
        self._connection.execute("checkpoint")

    def last(self) -> int:
        """Return the highest position in the outbox, 0 when it is empty."""
        return int(self._one("select coalesce(max(position), 0) from eventkit.outbox"))

    def has(self, position: int) -> bool:
        """Return whether a position is in the outbox: a look by key, which costs next to nothing."""
        return bool(self._one("select exists (select from eventkit.outbox where position = %s)", position))

    def size(self) -> int:
        """Return how many events are in the outbox."""
        return int(self._one("select count(*) from eventkit.outbox"))

    def epoch(self) -> int:
        """Return how often the relay's lease was taken."""
        return int(self._one("select coalesce(max(epoch), 0) from eventkit.leases"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _one(self, query: str, *values: object) -> Any:  # noqa: ANN401 a database's value
        row = self._connection.execute(query.encode(), values).fetchone()
        return row[0] if row else None
