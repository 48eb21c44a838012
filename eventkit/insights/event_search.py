"""Finds events, the newest first, and reads one event, a stream, and a causation tree.

A search reads by one key: the id, the stream's versions, the correlation id's index, or the positions. One call looks
at a limited number of events along that key, and returns those that match the other conditions. So a page may have few
items, or none, and a `next` where to look on.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from eventkit.insights.answers import CausedEvent, EventInsight, Page
from eventkit.insights.reader import InsightReader, Row, checked_limit, page_key, read_key
from eventkit.storage.events import EFFECTS

_WINDOW = 10_000  # events that one call looks at
_FEW = 1_000  # events of a type or category that are found by its own index
_BEYOND = 2**63 - 1
_SLACK = 1_000  # positions: events are recorded nearly in order of position
MAX_BYTES = 8_000_000  # of the data of one page; a single event may exceed it
_PLAIN_BYTES = 2_000  # stored values above it may be compressed, by pglz up to 87 times
_COMPRESSED, _USUAL_MOST = 87, 2_000_000

_OF_ITSELF = ("correlation_id", "causation_id", "traceparent")

# The events that a call looks at, along one key: the `key` of each, in descending order, at most `window` of them.
_BY_POSITION = """select position as key, position, stream, type, recorded_at from {s}.events
   where position < %(before)s::bigint and position >= %(low)s::bigint order by position desc limit {window}"""
_BY_STREAM = """select version::bigint as key, position, stream, type, recorded_at from {s}.events
   where stream = %(stream)s::text and version < %(before)s::bigint order by version desc limit {window}"""
# The first event of a story has no correlation id: its own id is the story's.
_BY_CORRELATION = """select position as key, position, stream, type, recorded_at from (
    (select position, stream, type, recorded_at from {s}.events
      where metadata ->> 'correlation_id' = %(correlation)s::text and position < %(before)s::bigint
      order by position desc limit {window})
    union
    select position, stream, type, recorded_at from {s}.events
     where id = %(first)s::uuid and position < %(before)s::bigint
  ) story order by position desc limit {window}"""
_BY_LIST = """select position as key, position, stream, type, recorded_at from {s}.events
   where position = any(%(positions)s::bigint[]) and position < %(before)s::bigint order by position desc"""

# `looked` is one of the selects above. It is read as far as the page needs: a CTE is read row by row, and it is counted
# only where the page is not full. The last row says where the look ended. Of an event without its payload, only the
# metadata that eventkit writes are read: a user's own may have 60 KB an event.
_SEARCH = """with looked as materialized ({looked}), found as materialized (
  select key, position from looked
   where (%(stream)s::text is null or stream = %(stream)s::text)
     and (%(type)s::text is null or type = %(type)s::text)
     and (%(category)s::text is null or split_part(stream, '-', 1) = %(category)s::text)
     and (%(since)s::timestamptz is null or recorded_at >= %(since)s::timestamptz)
     and (%(until)s::timestamptz is null or recorded_at < %(until)s::timestamptz)
   order by key desc limit %(limit)s::int
)
select f.key, e.position, e.id::text, e.source, e.stream, e.version, e.type, e.schema_version, e.recorded_at,
       case when %(payload)s::bool then e.metadata else jsonb_build_object(
         'correlation_id', e.metadata -> 'correlation_id', 'causation_id', e.metadata -> 'causation_id',
         'traceparent', e.metadata -> 'traceparent') end,
       pg_column_size(e.data), case when %(payload)s::bool then e.data::text end
  from found f cross join lateral (select * from {s}.events where position = f.position offset 0) e
union all
(select key, null, null, null, null, null, null, null, null, null, null, null from looked
  where case when (select count(*) from found) = %(limit)s::int then false
             else (select count(*) from looked) >= {window} end order by key limit 1)
order by 1 desc, 2 nulls last"""
_PAYLOADS = """select position, metadata, data::text from {s}.events where position = any(%(positions)s::bigint[])"""

_SOURCES = """with recursive s(name) as (
  (select source from {s}.events order by source limit 1)
  union all
  select (select e.source from {s}.events e where e.source > s.name order by e.source limit 1)
    from s where name is not null
) select name from s where name is not null limit 100"""
# Counted by the index alone; the events are fetched only where they are few.
_OF_TYPE = "from {s}.events where source = any(%(sources)s::text[]) and type = %(type)s::text"
_OF_CATEGORY = "from {s}.events where stream >= %(category)s::text || '-' and stream < %(category)s::text || '.'"

# Bisection: some thirty look-ups by the primary key.
_POSITION_AT = """with recursive b(low, high) as (
  select coalesce(min(position), 0), coalesce(max(position), 0) from {s}.events
  union all
  select case when f.is_before then f.position + 1 else b.low end,
         case when f.is_before then b.high else (b.low + b.high) / 2 - 1 end
    from b cross join lateral (select position, recorded_at < %(moment)s::timestamptz as is_before from {s}.events
      where position >= (b.low + b.high) / 2 order by position limit 1) f
   where b.low <= b.high
) select max(low) from b"""

_ONE = """select e.position, e.id::text, e.source, e.stream, e.version, e.type, e.schema_version, e.recorded_at,
       case when %(payload)s::bool then e.metadata else jsonb_build_object(
         'correlation_id', e.metadata -> 'correlation_id', 'causation_id', e.metadata -> 'causation_id',
         'traceparent', e.metadata -> 'traceparent') end,
       pg_column_size(e.data), case when %(payload)s::bool then e.data::text end,
       exists (select from {s}.amendments a where a.position = e.position),
       exists (select from {s}.outbox o where o.position = e.position)
  from {s}.events e where e.id = %(id)s::uuid"""

_TREE = f"""{EFFECTS}
select e.position, e.id::text, e.source, e.stream, e.version, e.type, e.schema_version, e.recorded_at,
       case when %(payload)s::bool then e.metadata else jsonb_build_object(
         'correlation_id', e.metadata -> 'correlation_id', 'causation_id', e.metadata -> 'causation_id',
         'traceparent', e.metadata -> 'traceparent') end,
       pg_column_size(e.data), case when %(payload)s::bool then e.data::text end, t.depth, t.parent::text
  from (select * from tree where not again limit %(limit)s::int) t
  cross join lateral (select * from {{s}}.events where position = t.place offset 0) e order by t.depth, e.position"""


class EventFilter(NamedTuple):
    """Selects events that match all given fields."""

    stream: str | None = None
    id: str | None = None
    type: str | None = None
    category: str | None = None
    correlation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def search(
    reader: InsightReader, wanted: EventFilter, *, after: str | None, limit: int, payload: bool
) -> Page[EventInsight]:
    """Return a page of the events that match, the newest first; with the payload it ends at 8 MB of data."""
    given = read_key(after, int)
    if wanted.id is not None:
        return _by_id(reader, wanted, payload=payload)
    params: dict[str, Any] = {
        **wanted._asdict(),
        "payload": False,
        "limit": checked_limit(limit) + 1,
    }
    looked = _along(reader, wanted, params, given[0] if given else _BEYOND)
    rows = reader.rows(_SEARCH, params, window=str(_WINDOW), looked=looked)
    found = [row for row in rows if row[1] is not None]
    shown = _fitting(found[:limit]) if payload else found[:limit]
    items = tuple(_with_payloads(reader, shown) if payload else (_event(row[1:]) for row in shown))
    if len(found) > len(shown):
        return Page(items=items, next=page_key(shown[-1][0]))
    ends = [row[0] for row in rows if row[1] is None]
    return Page(items=items, next=page_key(ends[0]) if ends and looked != _BY_LIST else None)


def event(reader: InsightReader, event_id: str | UUID, *, payload: bool) -> EventInsight | None:
    """Return an event; None where there is none with this id."""
    known = as_uuid(event_id)
    rows = reader.rows(_ONE, {"id": known, "payload": payload}) if known else []
    return _event(rows[0][:11], is_amended=rows[0][11], is_unsent=rows[0][12]) if rows else None


def causation_tree(reader: InsightReader, event_id: str | UUID, *, limit: int, payload: bool) -> list[CausedEvent]:
    """Return an event and all its effects, each followed by its own effects."""
    known = as_uuid(event_id)
    params = {"id": known, "limit": checked_limit(limit), "payload": payload}
    effects: dict[str | None, list[EventInsight]] = {}
    for row in reader.rows(_TREE, params) if known else []:
        effects.setdefault(row[12], []).append(_event(row[:11]))
    found: list[CausedEvent] = []
    waiting = [CausedEvent(depth=0, event=each) for each in effects.get(None, [])]
    while waiting:
        node = waiting.pop()
        found.append(node)
        below = reversed(effects.get(node.event.id, []))
        waiting += [CausedEvent(depth=node.depth + 1, event=each) for each in below]
    return found


def as_uuid(text: str | UUID | None) -> str | None:
    """Return an id in its usual form; None where it is no UUID."""
    try:
        return str(text if isinstance(text, UUID) else UUID(text))
    except (ValueError, TypeError, AttributeError):
        return None


def _fitting(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the first rows whose events' data fits into memory together; one at least."""
    held = 0
    for number, row in enumerate(rows):
        stored = row[10]
        held += stored if stored < _PLAIN_BYTES else min(_COMPRESSED * stored, max(stored, _USUAL_MOST))
        if held > MAX_BYTES and number:
            return rows[:number]
    return rows


def _with_payloads(reader: InsightReader, rows: Sequence[Row]) -> Iterator[EventInsight]:
    """Yield the events of rows with their data and metadata; an event that was pruned meanwhile has none."""
    payloads = {row[0]: row[1:] for row in reader.rows(_PAYLOADS, {"positions": [row[1] for row in rows]})}
    for row in rows:
        metadata, data = payloads.get(row[1], (row[9], None))
        yield _event((*row[1:9], metadata, row[10], data))


def _by_id(reader: InsightReader, wanted: EventFilter, *, payload: bool) -> Page[EventInsight]:
    found = event(reader, wanted.id or "", payload=payload)
    items = (found,) if found is not None and _matches(found, wanted) else ()
    return Page(items=items, next=None)


def _matches(found: EventInsight, wanted: EventFilter) -> bool:
    story = wanted.correlation_id
    return (
        wanted.stream in (None, found.stream)
        and wanted.type in (None, found.type)
        and wanted.category in (None, found.category)
        and (story is None or found.correlation_id == story or found.id == as_uuid(story))
        and (wanted.since is None or found.recorded_at >= wanted.since)
        and (wanted.until is None or found.recorded_at < wanted.until)
    )


def _along(reader: InsightReader, wanted: EventFilter, params: dict[str, Any], before: int) -> str:
    """Return the select along one key, and add its parameters."""
    params["before"] = before
    if wanted.correlation_id is not None:
        params |= {"correlation": wanted.correlation_id, "first": as_uuid(wanted.correlation_id)}
        return _BY_CORRELATION
    if wanted.stream is not None:
        return _BY_STREAM
    positions = _rare(reader, wanted)
    if positions is not None:
        params["positions"] = positions
        return _BY_LIST
    params["low"] = 0 if wanted.since is None else _position_at(reader, wanted.since) - _SLACK
    if wanted.until is not None:
        params["before"] = min(before, _position_at(reader, wanted.until) + _SLACK)
    return _BY_POSITION


def _rare(reader: InsightReader, wanted: EventFilter) -> list[int] | None:
    """Return the positions of the events of a rare type or category; None where they are many."""
    queries: list[tuple[str, dict[str, Any]]] = []
    if wanted.type is not None:
        sources = [name for (name,) in reader.rows(_SOURCES)]
        queries.append((_OF_TYPE, {"sources": sources, "type": wanted.type}))
    if wanted.category is not None:
        queries.append((_OF_CATEGORY, {"category": wanted.category}))
    for rows, params in queries:
        if reader.row(f"select count(*) from (select {rows} limit {_FEW + 1}) counted", params)[0] <= _FEW:
            return [position for (position,) in reader.rows(f"select position {rows} limit {_FEW + 1}", params)]
    return None


def _position_at(reader: InsightReader, moment: datetime) -> int:
    """Return the first position at or after a time, as far as events are recorded in order of position."""
    return int(reader.row(_POSITION_AT, {"moment": moment})[0])


def _event(row: Row, *, is_amended: bool | None = None, is_unsent: bool | None = None) -> EventInsight:
    position, event_id, source, stream, version, event_type, schema_version, recorded_at, metadata, size, data = row
    own = {name: metadata.get(name) for name in _OF_ITSELF}
    return EventInsight(
        position=position,
        id=event_id,
        source=source,
        stream=stream,
        category=stream.partition("-")[0],
        version=version,
        type=event_type,
        schema_version=schema_version,
        recorded_at=recorded_at,
        **{name: None if value is None else str(value) for name, value in own.items()},
        bytes=size,
        is_amended=is_amended,
        is_unsent=is_unsent,
        metadata=None if data is None else {k: v for k, v in metadata.items() if k not in _OF_ITSELF},
        data=data,
    )
