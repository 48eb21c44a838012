"""Reads the event store stream by stream: the streams, their versions, and their events by version.

A snapshot shows a prefix of each stream. So reading up to `streams.version` misses no event of that prefix, also while
transactions are open, and positions do not matter. Called by rebuilds and by commands that compute a projection's lag.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import in_schema, plain_array, text_array
from eventkit.storage.outbox import AMENDED, AS_TEXT, NEARLY_BYTES

_TOTAL = """select coalesce(sum(version), 0)::bigint from {s}.streams
 where (cardinality(%(categories)s::text[]) = 0 or split_part(stream, '-', 1) = any(%(categories)s::text[]))"""
# By the primary key; a part is chosen by a hash of the stream, so no two workers have the same stream.
_PAGE = """select stream, version from {s}.streams
 where (cardinality(%(categories)s::text[]) = 0 or split_part(stream, '-', 1) = any(%(categories)s::text[]))
   and stream > %(after)s and (hashtextextended(stream, 0) & 2147483647) %% %(of)s = %(part)s
 order by stream limit %(limit)s"""
# A nested loop: one range of the unique index on (stream, version) for each span, in the order of the spans. The
# running sum is counted in that order, and bounds the bytes before any large value is fetched.
_EVENTS = f"""select position, '', {AS_TEXT} from (
  select e.*, {NEARLY_BYTES} as bytes, sum({NEARLY_BYTES}) over (rows unbounded preceding) as running
    from unnest(%s::text[], %s::int[], %s::int[]) with ordinality w(stream, low, high, nth)
    cross join lateral (select * from {{s}}.events x
       where x.stream = w.stream and x.version > w.low and x.version <= w.high order by x.version) e
) e {AMENDED} where running - bytes < %s"""
_OLDEST = """select extract(epoch from clock_timestamp() - min(e.recorded_at))::float8
               from unnest(%s::text[], %s::int[]) w(stream, version)
               join {s}.events e on e.stream = w.stream and e.version = w.version"""


_SOME = "select count(*) from (select from {s}.streams limit %s) counted"
_WITH_EVENTS = """select stream from unnest(%s::text[]) with ordinality w(stream, nth)
                  where exists (select from {s}.events e where e.stream = w.stream) order by nth"""
_VERSIONS = "select stream, version from {s}.streams where stream = any(%s)"
_NEWEST = """select position, stream, version, extract(epoch from clock_timestamp() - recorded_at)::float8
               from {s}.events where position < coalesce(%(before)s::bigint, 9223372036854775807)
              order by position desc limit %(limit)s"""


class Newest(NamedTuple):
    """An event without its data, and its age in seconds."""

    position: int
    stream: str
    version: int
    age: float


class StreamPart(NamedTuple):
    """One of `of` parts of all streams, by hash."""

    number: int = 0
    of: int = 1


class Missing(NamedTuple):
    """Events of a stream above one version, up to another."""

    stream: str
    low: int
    high: int


class StreamLog:
    """The store's streams, of some categories or all, over one autocommit connection to its primary."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, categories: Sequence[str] = ()) -> None:
        self._categories = list(categories)
        self._connection = connection  # used by one thread
        self._cursor = connection.cursor(binary=True)
        self._schema = schema

    def total(self) -> int:
        """Return the number of events of the streams."""
        row = self._cursor.execute(self._sql(_TOTAL), {"categories": self._categories}).fetchone()
        return int(row[0]) if row else 0

    def versions(self, streams: Sequence[str]) -> dict[str, int]:
        """Return the versions of these streams, without those that do not exist."""
        return dict(self._cursor.execute(self._sql(_VERSIONS), (list(streams),)).fetchall())

    def with_events(self, streams: Sequence[str]) -> list[str]:
        """Return those of these streams that have events, in their order: all events of a stream may be pruned."""
        return [stream for (stream,) in self._cursor.execute(self._sql(_WITH_EVENTS), (text_array(streams),))]

    def has_more_than(self, count: int) -> bool:
        """Whether there are more than `count` streams; it counts no further."""
        row = self._cursor.execute(self._sql(_SOME), (count + 1,)).fetchone()
        return bool(row and row[0] > count)

    def newest(self, before: int | None, limit: int) -> list[Newest]:
        """Return the newest events below a position, the newest first."""
        rows = self._cursor.execute(self._sql(_NEWEST), {"before": before, "limit": limit})
        return [Newest(*row) for row in rows]

    def page(self, after: str, limit: int, part: StreamPart) -> list[tuple[str, int]]:
        """Return the next streams of a part, in order of name, each with its version."""
        params = {"after": after, "limit": limit, "part": part.number, "of": part.of, "categories": self._categories}
        return self._cursor.execute(self._sql(_PAGE), params, prepare=True).fetchall()

    def events(self, missing: Sequence[Missing], *, max_bytes: int) -> list[tuple[Any, ...]]:
        """Return events as rows for `outbox.message`, stream after stream, in order of version.

        The last ones are left out where there are more than `max_bytes`; a single event may exceed it.
        """
        streams = text_array([item.stream for item in missing])
        bounds = [plain_array([item[end] for item in missing]) for end in (1, 2)]
        return self._cursor.execute(self._sql(_EVENTS), (streams, *bounds, max_bytes), prepare=True).fetchall()

    def age(self, next_events: Sequence[tuple[str, int]]) -> float | None:
        """Return the age in seconds of the oldest of these events, given by stream and version."""
        params = (text_array([e[0] for e in next_events]), plain_array([e[1] for e in next_events]))
        row = self._cursor.execute(self._sql(_OLDEST), params).fetchone()
        return float(row[0]) if row and row[0] is not None else None

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
