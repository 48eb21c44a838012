"""Finds how far projections are behind the store: events, and the time of the oldest event that is not applied.

With few streams, or when an exact answer is asked for, the versions of all streams are compared with the checkpoints.
With more streams, the newest events are compared, and samples of the older ones: from each span of positions, twice as
long as the one before, a few. An event of a sample counts for its share of the span. So the cost does not grow with the
store, and all projections share the samples. A single stream that was left behind long ago is missed by samples; the
processes' own places (`projection_state`) and an exact answer show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eventkit.insights.reader import InsightReader, Row
from eventkit.storage.db import plain_array, text_array
from eventkit.storage.events import StreamLog
from eventkit.storage.projections import Checkpoints, behind

_FIRST_SPAN, _SAMPLES = 256, 8  # positions; events of each span
_MAX_AGES = 10_000  # streams whose next event's time is looked up
_MINUTE = 60.0  # seconds

_HEAD = "select coalesce(max(position), 0), coalesce(min(position), 0), clock_timestamp() from {s}.events"
_NEW = """select stream, version, recorded_at, 1::bigint, position from {s}.events
 order by position desc limit %(newest)s"""
# One look-up by the primary key for each position; the weight is the number of positions that it stands for.
_SAMPLE = """select e.stream, e.version, e.recorded_at, w.weight
  from unnest(%(positions)s::bigint[], %(weights)s::bigint[]) w(position, weight)
 cross join lateral (select stream, version, recorded_at from {s}.events
    where position >= w.position and position < w.position + w.weight order by position limit 1) e"""
_UNAPPLIED = """with sample as materialized (
  select * from unnest(%(streams)s::text[], %(versions)s::int[], %(times)s::timestamptz[], %(weights)s::bigint[])
    s(stream, version, recorded_at, weight)
), reads as materialized (
  select * from unnest(%(generations)s::bigint[], %(categories)s::text[]) r(generation, category)
)
select g.generation, sum(s.weight)::bigint, count(distinct s.stream), min(s.recorded_at), max(s.weight) > 1
  from (select distinct generation from reads) g cross join sample s
  left join lateral (select version, parked from {s}.checkpoints c
     where c.generation = g.generation and c.stream = s.stream offset 0) c on true
 where case when c.version is null then exists (select from reads r where r.generation = g.generation
              and r.category = split_part(s.stream, '-', 1))
            else not c.parked and c.version < s.version end
 group by g.generation"""
_NEXT = """select min(e.recorded_at) from unnest(%(streams)s::text[], %(versions)s::int[]) w(stream, version)
  cross join lateral (select recorded_at from {s}.events e
     where e.stream = w.stream and e.version >= w.version order by e.version limit 1) e"""


class LagDepth(NamedTuple):
    """How closely to look: up to how many streams are compared one by one, and how many of the newest events."""

    streams: int
    events: int


OF_MANY, OF_ONE = LagDepth(1_000, 256), LagDepth(20_000, 1_000)


class EventLag(NamedTuple):
    """Events that a projection has not applied; `oldest_at` is the recorded time of the oldest one."""

    events: int
    streams: int  # that were seen to be behind
    oldest_at: datetime | None
    is_exact: bool
    is_estimated: bool = False  # samples of older events have counted for others


class StoreHead(NamedTuple):
    """The end of the store."""

    position: int
    lowest: int
    now: datetime
    rate: float  # appended events a second, in the last minute
    newest: list[Row]
    depth: LagDepth


def store_head(store: InsightReader, depth: LagDepth) -> StoreHead:
    """Return the end of the store and its newest events."""
    position, lowest, now = store.row(_HEAD)
    newest = store.rows(_NEW, {"newest": depth.events})
    recent = [row for row in newest if (now - row[2]).total_seconds() < _MINUTE]
    full = len(recent) == depth.events
    seconds = max((now - recent[-1][2]).total_seconds(), 0.001) if full else _MINUTE
    return StoreHead(position, lowest, now, len(recent) / seconds, newest, depth)


class ProjectionLags:
    """Compares the store with the checkpoints of the read models' database, which may be another one."""

    def __init__(self, reader: InsightReader, store: InsightReader, head: StoreHead) -> None:
        self._reader = reader
        self._store = store
        self._head = head
        self._log = StreamLog(store.connection, store.schema)
        self._checkpoints = Checkpoints(reader.schema)

    def all(self, reads: Mapping[int, Sequence[str]], *, exact: bool) -> dict[int, EventLag]:
        """Return the lag of each generation, given its declared categories.

        A generation without any reads the categories that it has applied; before the first one it is left out.
        """
        reads = {generation: names or self._applied(generation) for generation, names in reads.items()}
        reads = {generation: names for generation, names in reads.items() if names}
        if exact or not self._log.has_more_than(self._head.depth.streams):
            return {generation: self._compared(generation, set(names)) for generation, names in reads.items()}
        return self._sampled(reads)

    def _applied(self, generation: int) -> list[str]:
        """Return the categories of the streams that a generation has applied."""
        return self._checkpoints.categories(self._reader.connection, generation)

    def _compared(self, generation: int, categories: set[str]) -> EventLag:
        events, streams, following = 0, 0, []
        for item in behind(self._log, self._checkpoints, self._reader.connection, generation):
            if item.stream.partition("-")[0] in categories and not item.parked:
                events += item.version - item.applied
                streams += 1
                if streams <= _MAX_AGES:
                    following.append((item.stream, item.applied + 1))
        return EventLag(events, streams, self._oldest(following), is_exact=True)

    def _oldest(self, following: Sequence[tuple[str, int]]) -> datetime | None:
        if not following:
            return None
        streams, versions = zip(*following, strict=True)
        params = {"streams": text_array(streams), "versions": plain_array(versions)}
        oldest: datetime | None = self._store.row(_NEXT, params)[0]
        return oldest

    def _sampled(self, reads: Mapping[int, Sequence[str]]) -> dict[int, EventLag]:
        sample = [*self._head.newest, *self._samples()]
        pairs = [(generation, name) for generation, names in reads.items() for name in names]
        params: dict[str, Any] = {
            "streams": text_array(row[0] for row in sample),
            "versions": plain_array(row[1] for row in sample),
            "times": [row[2] for row in sample],
            "weights": plain_array(row[3] for row in sample),
            "generations": plain_array(generation for generation, _ in pairs),
            "categories": text_array(name for _, name in pairs),
        }
        found = {row[0]: row for row in self._reader.rows(_UNAPPLIED, params)}
        return {generation: _lag(found.get(generation)) for generation in reads}

    def _samples(self) -> list[Row]:
        newest = self._head.newest
        spans = list(_spans(newest[-1][4], self._head.lowest)) if newest else []
        params = {"positions": plain_array(low for low, _ in spans), "weights": plain_array(size for _, size in spans)}
        return self._store.rows(_SAMPLE, params)


def _lag(row: Row | None) -> EventLag:
    _, events, streams, oldest_at, is_estimated = row or (0, 0, 0, None, False)
    return EventLag(events, streams, oldest_at, is_exact=False, is_estimated=is_estimated)


def _spans(below: int, lowest: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of the spans below a position, as (first position, number of positions)."""
    size, high = _FIRST_SPAN, below
    while high > lowest:
        low = max(lowest, high - size)
        part = -(-(high - low) // _SAMPLES)
        yield from ((start, min(part, high - start)) for start in range(low, high, part))
        size, high = size * 2, low
