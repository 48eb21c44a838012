"""The statement of an append with inline projections: the CTEs that it adds, and the rows that it returns.

An append of one event, with one table projection, is five statements in this order:

    1. savepoint   a failure undoes events, checkpoints and rows, and no change of the caller; a transaction that
                   begins with the append has no savepoint: it is rolled back itself, and has no change of the caller
    2. append      lock the stream, insert the event and its outbox row; then, for each projection in order of name,
                   take its fence and advance its checkpoint of the stream, if that is exactly below the event
    3. take        lock and read the row of the event's key
    4. write       write the row as the handler left it
    5. release     release the savepoint, if there is one

Why this order, and no shorter one:

- Streams are locked before fences. In the other order two appends could deadlock with a rebuild's swap, which waits
  for a fence alone.
- The fence is read by the statement that locks it, and the row is returned as it is locked: so the checkpoint is that
  of the generation which is live, also where the statement has waited for a swap (`projections/registry.py`).
- The user's table is not in statement 2. Its name would be resolved before the swap, and its lock, taken before the
  fence, would deadlock with the swap, which holds the fence and then locks the table.
- The rows are locked after the checkpoint: a fold of rows that were read before it would repeat or lose an event.
- The statements for one event and for one row have no arrays. PostgreSQL plans a statement with `unnest(array)` anew
  each time, because it estimates a generic plan, for an array of unknown length, as worse. Planning costs more than
  running it.
- The statement that writes the events returns them as PostgreSQL stores them. So the handlers see the same JSON and
  the same times as a projector's handlers, and nothing is read twice.

The statement skips some projections and streams: a projection that is not registered or has another version; a
checkpoint that is parked, behind or missing; events that an earlier call with the same ids has written. There
`eventkit.projection.inline` applies the events as a projector does.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple
from uuid import UUID

from eventkit.domain.envelope import EncodedEvent
from eventkit.storage.db import Row, plain_array, projection_gate, quoted
from eventkit.storage.entry import Entry
from eventkit.storage.events.append_sql import SqlParts
from eventkit.storage.events.digests import PRIME, WEIGHT, part_of, part_of_run
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.outbox import encoded

_EVENT = """, metadata::text as metadata, data::text as data,
    to_json(recorded_at at time zone 'UTC') #>> '{}' || '+00:00' as time"""
_EVENT_COLUMNS = ", e.version, e.time, e.metadata, e.data"
_NO_ID = UUID(int=0)  # of an entry without events, whose span is not used
_WEIGHT = WEIGHT.format(version="s.version")
_FIRST, _WIDTH = 7, 2  # the columns of the first projection, and how many each has

# After the streams' locks, or after the fence of the previous projection: a CTE runs when another one reads it.
_FENCE = """, f{i} as (
  select p.generation, p.declared_version, pg_advisory_xact_lock_shared(%(gate{i})s::int, %(key{i})s::int)
    from {s}.projections p, (select count(*) from {before}) z
   where p.name = %(projection{i})s::text for key share of p
)"""

# As `checkpoints.ADVANCE`: a checkpoint that would be created above version 1 is created as parked, then removed.
_ONE_CHECKPOINT = """, k{i} as (
  insert into {s}.checkpoints as k (generation, stream, version, event_id, digest, parked)
  select f.generation, %(stream)s::text, s.version, %(id)s::uuid,
         mod(%(digest)s::numeric * {weight}, {prime})::bigint, s.version > 1
    from s, f{i} f where f.declared_version = %(declared{i})s::int
  on conflict (generation, stream) do update
     set version = excluded.version, event_id = excluded.event_id, digest = mod(k.digest + excluded.digest, {prime})
   where not k.parked and k.version + 1 = excluded.version
  returning parked
)"""

# For each stream that events are written to: their number, the id of the last one, and their part of the digest. The
# version is only known here, so the part is given as it would be up to version 0.
_SPANS = """, x as materialized (
  select s.stream, s.version, w.n, w.nth, g.id, mod(g.part * {weight}, {prime})::bigint as digest
    from s join w on w.stream = s.stream
    join unnest(%(lasts)s::uuid[], %(parts)s::numeric[]) with ordinality g(id, part, nth) on g.nth = w.nth
   where w.n > 0
)"""

_MANY_CHECKPOINTS = """, k{i} as (
  insert into {s}.checkpoints as k (generation, stream, version, event_id, digest, parked)
  select f.generation, x.stream, x.version, x.id, x.digest, x.version > x.n
    from x, f{i} f where f.declared_version = %(declared{i})s::int and x.nth = any(%(read{i})s::int[])
   order by x.stream collate "C"
  on conflict (generation, stream) do update
     set version = excluded.version, event_id = excluded.event_id, digest = mod(k.digest + excluded.digest, {prime})
   where not k.parked and (k.stream, k.version) in (select x.stream, x.version - x.n from x)
  returning stream, parked
)"""

_COLUMNS = ", f{i}.generation, k{i}.parked"
_ONE_JOIN = " left join f{i} on true left join k{i} on true"
_MANY_JOIN = " left join f{i} on true left join k{i} on k{i}.stream = s.stream"


class Target(NamedTuple):
    """A projection that reads some of an append's entries, counted from 1; targets come in order of name."""

    name: str
    version: int
    entries: tuple[int, ...]


class Advanced(NamedTuple):
    """The streams that the append has advanced for a projection, and those whose new checkpoint must be removed."""

    generation: int
    streams: AbstractSet[str]
    unfounded: AbstractSet[str]  # checkpoints that were created above version 1


class InlineSql:
    """The append statements of one PostgreSQL schema, by how many projections follow; each is built once."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._statements: dict[int, TagSql] = {}

    def following(self, count: int) -> TagSql:
        """Return the append statements with this number of inline projections."""
        if count not in self._statements:
            one, many = (_parts(quoted(self._schema), count, single=single) for single in (True, False))
            self._statements[count] = TagSql(self._schema, one=one, many=many)
        return self._statements[count]


def _parts(s: str, count: int, *, single: bool) -> SqlParts:
    checkpoints, join = (_ONE_CHECKPOINT, _ONE_JOIN) if single else (_MANY_CHECKPOINTS, _MANY_JOIN)
    then = "" if single else _SPANS.format(prime=PRIME, weight=_WEIGHT)
    for i in range(count):
        before = f"f{i - 1}" if i else "s"
        then += _FENCE.format(s=s, i=i, before=before) + checkpoints.format(s=s, i=i, prime=PRIME, weight=_WEIGHT)
    columns = _EVENT_COLUMNS + "".join(_COLUMNS.format(i=i) for i in range(count))
    return SqlParts(then=then, event=_EVENT, columns=columns, joins="".join(join.format(i=i) for i in range(count)))


def following_params(schema: str, entries: Sequence[Entry], targets: Sequence[Target]) -> dict[str, Any]:
    """Return the parameters that inline projections add to those of a plain append."""
    params = _digest_params(entries)
    for i, target in enumerate(targets):
        gate, key = projection_gate(schema, target.name)
        params[f"projection{i}"], params[f"declared{i}"] = target.name, str(target.version)
        params[f"gate{i}"], params[f"key{i}"] = str(gate), str(key)
        if len(entries) > 1 or len(entries[0].ids) > 1:
            params[f"read{i}"] = plain_array(target.entries)
    return params


def _digest_params(entries: Sequence[Entry]) -> dict[str, Any]:
    if len(entries) == len(entries[0].ids) == 1:
        return {"digest": str(part_of(entries[0].ids[0], 0))}
    return {
        "lasts": plain_array(entry.ids[-1].hex if entry.ids else _NO_ID.hex for entry in entries),
        "parts": plain_array(part_of_run(b"".join([one.bytes for one in entry.ids]), 0) for entry in entries),
    }


def appended_events(source: str, entries: Sequence[Entry], rows: Sequence[Row]) -> list[EncodedEvent]:
    """Return the events of an append as PostgreSQL stores them, in order of position."""
    by_stream = {entry.stream: entry for entry in entries}
    found = []
    for stream, last, position, version, time, metadata, data, *_ in rows:
        if position is None:  # a guard
            continue
        entry = by_stream[stream]
        place = version - last - 1  # from the end
        event = entry.events[place]
        about = (str(entry.ids[place]), source, event.type, event.schema_version)
        found.append((position, "", stream, version, *about, time, None if metadata == "{}" else metadata, data))
    return [encoded(row) for row in sorted(found)]


def advanced(rows: Sequence[Row], place: int) -> Advanced | None:
    """Return the streams advanced for the projection at a place among the targets; None where it is not registered."""
    at = _FIRST + _WIDTH * place
    if not rows or rows[0][at] is None:
        return None
    by_mark: dict[bool | None, set[str]] = {False: set(), True: set(), None: set()}
    for row in rows:
        by_mark[row[at + 1]].add(row[0])
    return Advanced(rows[0][at], by_mark[False], by_mark[True])
