"""Checkpoints: the version up to which a generation of a projection has applied a stream.

A checkpoint advances in the transaction that writes the read model. The compare-and-set on the version gives each event
its effect exactly once: a duplicate, a gap, a parked stream and a process that was thought dead all fail to advance.
Every function runs in the caller's READ COMMITTED transaction. It locks checkpoints in order of stream (`collate "C"`),
so two processes cannot deadlock. Called by `eventkit.projection` alone.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.storage.db import in_schema, plain_array, text_array
from eventkit.storage.events import PRIME, added

_UNKNOWN = -1  # stands for no digest in the statement's array; digests are not negative

# Locks each checkpoint that it changes, in order of stream; one index look-up a stream. The WHERE compares with the
# run's *first* version: `k.version < excluded.version` would skip holes. A run that begins above version 1 must not
# create a checkpoint. A check before would cost a second look-up for each stream. So the checkpoint is created as
# parked, returned as created, and deleted before another transaction can see it. Only streams that did not advance are
# returned: usually none. `in` over a select of one column makes a hash table under any plan, a join need not.
ADVANCE = f"""
with x as materialized (
  select * from unnest(%(streams)s::text[], %(firsts)s::int[], %(lasts)s::int[], %(ids)s::uuid[],
                       %(digests)s::bigint[]) x(s, f, l, i, d)
), a as (
  insert into {{s}}.checkpoints as k (generation, stream, version, event_id, digest, parked)
  select %(generation)s, s, l, i, nullif(d, {_UNKNOWN}), f > 1 from x order by s collate "C"
  on conflict (generation, stream) do update
     set version = excluded.version, event_id = excluded.event_id, digest = mod(k.digest + excluded.digest, {PRIME})
   where not k.parked and (k.stream, k.version + 1) in (select s, f from x)
  returning stream, parked
)
select s, s in (select stream from a where parked) from x where s not in (select stream from a where not parked)
"""
# Locks the existing rows that no other transaction has locked. A row that another transaction is creating is not seen:
# creating it waits, for `lock_timeout`.
_FREE = """select stream from {s}.checkpoints where generation = %s and stream = any(%s)
            order by stream collate "C" for no key update skip locked"""
_THERE = "select stream from {s}.checkpoints where generation = %s and stream = any(%s)"
_REMOVE = "delete from {s}.checkpoints where generation = %s and stream = any(%s)"
_READ = """select stream, version, event_id, parked, digest from {s}.checkpoints
            where generation = %s and stream = any(%s)"""
_CREATE = """insert into {s}.checkpoints (generation, stream, version, digest) values (%s, %s, 0, 0)
             on conflict do nothing"""
_LOCK = """select stream, version, event_id, parked, digest from {s}.checkpoints
            where generation = %s and stream = %s for update"""
_MOVE = """update {s}.checkpoints
              set version = %(version)s, event_id = %(event_id)s, digest = %(digest)s, parked = %(parked)s
            where generation = %(generation)s and stream = %(stream)s"""
_PAGE = """select stream, version, event_id, parked, digest from {s}.checkpoints
             where generation = %s and stream > %s order by stream limit %s"""
_BETWEEN = """select stream, version, event_id, parked, digest from {s}.checkpoints
               where generation = %s and stream > %s and stream <= %s order by stream"""
_ANY = "select exists (select from {s}.checkpoints where generation = %s)"
_EVENTS = "select coalesce(sum(version), 0)::bigint from {s}.checkpoints where generation = %s"
_PARKED = "select count(*) from {s}.checkpoints where generation = %s and parked"
# The planner's estimate: about right for a table that was analyzed since it grew.
_ESTIMATE = "explain (format json) select from {s}.checkpoints where generation = %s"
_COUNT = "select count(*) from (select from {s}.checkpoints where generation = %s limit %s) counted"
_COUNT_PARKED = "select count(*) from (select from {s}.checkpoints where generation = %s and parked limit %s) counted"
# A loose scan over the primary key; "order." is above every stream of "order".
_CATEGORIES = """
with recursive c(name) as (
  (select split_part(stream, '-', 1) collate "C" from {s}.checkpoints where generation = %(generation)s
    order by stream limit 1)
  union all
  select (select split_part(k.stream, '-', 1) collate "C" from {s}.checkpoints k
           where k.generation = %(generation)s and k.stream >= c.name || '.' order by k.stream limit 1)
    from c where name is not null
)
select name from c where name is not null
"""


class Span(msgspec.Struct, gc=False, frozen=True):
    """A run of one stream's versions without a hole, the id of its last event, and its part of the digest."""

    stream: str
    first: int
    last: int
    id: str  # 32 hexadecimal digits
    digest: int | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """One row: the stream is applied up to `version` (0: nothing yet), by the event `event_id`."""

    stream: str
    version: int
    event_id: UUID | None
    parked: bool
    digest: int | None = None  # of all events up to `version` (`eventkit.storage.events.digests`); None: not known

    def advanced(self, version: int, event_id: UUID, part: int | None) -> "Checkpoint":
        """Return it at a later event; `part` is the part of the events up to there in the digest, None if unknown."""
        return Checkpoint(self.stream, version, event_id, self.parked, added(self.digest, part))


class Checkpoints:
    """The checkpoints of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def advance(self, connection: psycopg.Connection[Any], generation: int, spans: Sequence[Span]) -> set[str]:
        """Advance each stream that is exactly below its span and not parked, in one statement; return these streams."""
        params = {
            "generation": generation,
            "streams": text_array([span.stream for span in spans]),
            "firsts": plain_array([span.first for span in spans]),
            "lasts": plain_array([span.last for span in spans]),
            "ids": plain_array([span.id for span in spans]),
            "digests": plain_array([_UNKNOWN if span.digest is None else span.digest for span in spans]),
        }
        stopped = connection.execute(self._sql(ADVANCE), params).fetchall()
        unfounded = [stream for stream, created_above_1 in stopped if created_above_1]
        if unfounded:
            self.take_back(connection, generation, unfounded)
        return {span.stream for span in spans}.difference([stream for stream, _ in stopped])

    def take_back(self, connection: psycopg.Connection[Any], generation: int, streams: Sequence[str]) -> None:
        """Delete checkpoints that this transaction has created above version 1."""
        connection.execute(self._sql(_REMOVE), (generation, list(streams)))

    def locked(self, connection: psycopg.Connection[Any], generation: int, streams: Sequence[str]) -> set[str]:
        """Lock the checkpoints of streams without waiting; return those that another transaction has locked."""
        params = (generation, list(streams))
        free = {stream for (stream,) in connection.execute(self._sql(_FREE), params)}
        return {stream for (stream,) in connection.execute(self._sql(_THERE), params)} - free

    def read(
        self, connection: psycopg.Connection[Any], generation: int, streams: Sequence[str]
    ) -> dict[str, Checkpoint]:
        """Return the checkpoints as committed now, without locks: versions only grow."""
        rows = connection.execute(self._sql(_READ), (generation, list(streams)))
        return {row[0]: Checkpoint(*row) for row in rows}

    def page(self, connection: psycopg.Connection[Any], generation: int, after: str, limit: int) -> list[Checkpoint]:
        """Return the next checkpoints in order of stream."""
        return [Checkpoint(*row) for row in connection.execute(self._sql(_PAGE), (generation, after, limit))]

    def between(
        self, connection: psycopg.Connection[Any], generation: int, after: str, upto: str
    ) -> dict[str, Checkpoint]:
        """Return the checkpoints of a span of streams, as committed now."""
        rows = connection.execute(self._sql(_BETWEEN), (generation, after, upto))
        return {row[0]: Checkpoint(*row) for row in rows}

    def lock(self, connection: psycopg.Connection[Any], generation: int, stream: str) -> Checkpoint:
        """Lock one checkpoint, creating it at version 0."""
        connection.execute(self._sql(_CREATE), (generation, stream))
        row = connection.execute(self._sql(_LOCK), (generation, stream)).fetchone()
        if row is None:
            raise RuntimeError(f"checkpoint {generation}, {stream!r} was deleted under the projection's fence")
        return Checkpoint(*row)

    def move(self, connection: psycopg.Connection[Any], generation: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint that this transaction has locked."""
        connection.execute(self._sql(_MOVE), {"generation": generation, **msgspec.structs.asdict(checkpoint)})

    def any(self, connection: psycopg.Connection[Any], generation: int) -> bool:
        """Return whether a generation has a checkpoint."""
        return connection.execute(self._sql(_ANY), (generation,)).fetchone() == (True,)

    def parked(self, connection: psycopg.Connection[Any], generation: int) -> int:
        """Return the number of streams that a generation has parked."""
        row = connection.execute(self._sql(_PARKED), (generation,)).fetchone()
        return int(row[0]) if row else 0

    def count(self, connection: psycopg.Connection[Any], generation: int, *, upto: int | None) -> tuple[int, int]:
        """Return the number of a generation's streams, and the number of parked ones.

        Above `upto` the first is the planner's estimate, and the second stays at `upto`.
        """
        counts = [
            int((connection.execute(self._sql(statement), (generation, upto)).fetchone() or (0,))[0])
            for statement in (_COUNT, _COUNT_PARKED)
        ]
        if upto is not None and counts[0] == upto:
            ((plan,),) = connection.execute(self._sql(_ESTIMATE), (generation,)).fetchall()
            counts[0] = max(upto, int(plan[0]["Plan"]["Plan Rows"]))
        return counts[0], counts[1]

    def events(self, connection: psycopg.Connection[Any], generation: int) -> int:
        """Return the number of events that a generation has applied; it reads all of its checkpoints."""
        row = connection.execute(self._sql(_EVENTS), (generation,)).fetchone()
        return int(row[0]) if row else 0

    def categories(self, connection: psycopg.Connection[Any], generation: int) -> list[str]:
        """Return the categories of a generation's streams."""
        return [name for (name,) in connection.execute(self._sql(_CATEGORIES), {"generation": generation})]

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
