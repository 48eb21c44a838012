"""Prunes old events that were sent, and applied by every projection that this database knows.

A stream is pruned from its beginning. The events above `streams.pruned_to` stay without a hole, and the stream keeps
its version. So a reader that needs pruned events gets an error, and does not take the rest for the whole stream.

Each batch is a transaction that first locks the rows of its streams, without waiting: a stream that is being appended
to is left for the next run. An event that has left the outbox, or is below a checkpoint, stays so, therefore one
snapshot is enough. Projections in other databases are not visible from here: the operator confirms that they have
applied the events. Called by the `eventkit events` command.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from eventkit.storage.db import database_errors, in_schema, plain_array
from eventkit.storage.debezium import read_mode, unsent_by_debezium
from eventkit.storage.events import HEX, PRIME, SUM
from eventkit.storage.retention.maintenance_role import check_maintenance, maintenance

BATCH = 1_000  # events

# In order of position, which is nearly the order of time; `prunable` is true for a prefix of each stream. A stream
# whose row another transaction has locked is left out. The generation of a rebuild counts as a projection. A generation
# with declared categories reads only these. `lock` is empty where the events are only counted.
_JUDGED = """
with page as materialized (
  select position, stream, version, source, recorded_at < %(before)s as old from {s}.events
   where position > %(after)s order by position limit %(limit)s
), locked as materialized (
  select stream, pruned_to from {s}.streams
   where stream in (select stream from page where old) and not closed
     and (%(category)s::text is null or split_part(stream, '-', 1) = %(category)s)
   order by stream {lock}
), live as materialized (
  select name, generation, categories from {s}.projections where name <> all(%(ignored)s::text[])
  union all select name, generation, categories from {s}.rebuilds where name <> all(%(ignored)s::text[])
), judged as (
  select p.*, l.pruned_to, %(passed)s and not exists (select from {s}.outbox o where o.position = p.position)
           and (select mode from {s}.installation) = %(mode)s as sent,
         not exists (
           select from live g
            where (cardinality(g.categories) = 0 or split_part(p.stream, '-', 1) = any(g.categories))
              and not exists (
                select from {s}.checkpoints c
                 where c.generation = g.generation and c.stream = p.stream and c.version >= p.version)) as applied
    from page p join locked l using (stream)
), prefix as (
  select *, bool_and(old and sent and applied) over w and version = pruned_to + row_number() over w as prunable
    from judged window w as (partition by stream order by version)
)
"""
_LOCK = "for no key update skip locked"
_PAGE = (
    _JUDGED
    + """select p.position, p.stream, p.version, p.source, p.old, coalesce(x.prunable, false)
  from page p left join prefix x using (position) order by p.position"""
)
COUNTED_EVENTS = 50_000  # the oldest events, counted before a prune
_OLDEST = {"after": 0, "limit": COUNTED_EVENTS}

# The last row, without a category, has the number of old events among the counted ones.
_COUNT = (
    _JUDGED
    + """(select split_part(stream, '-', 1), count(*) filter (where prunable), count(*) filter (where not sent),
       count(*) filter (where sent and not applied) from prefix where old group by 1 order by 1)
union all select null, count(*), 0, 0 from page where old"""
)
_WAITED_FOR = (
    _JUDGED
    + """select distinct g.name from judged p cross join live g
 where p.old and p.sent and not p.applied
   and (cardinality(g.categories) = 0 or split_part(p.stream, '-', 1) = any(g.categories)) and not exists (
   select from {s}.checkpoints c
    where c.generation = g.generation and c.stream = p.stream and c.version >= p.version) order by 1"""
)

_DELETE = "delete from {s}.events where position = any(%s::bigint[])"
_UNTAG = "delete from {s}.event_tags where position = any(%s::bigint[])"
# A decision model must not use events that its query would not return any more.
FORGET_DECISIONS = "delete from {s}.decision_snapshots"
_UNAMEND = "delete from {s}.amendments where position = any(%s::bigint[])"
# Before the events are deleted: their part of the digest stays with the stream.
_MARK = f"""update {{s}}.streams t set pruned_to = x.version, pruned_digest = mod(t.pruned_digest + x.digest, {PRIME})
  from (select e.stream, max(e.version) as version, {SUM} as digest
          from {{s}}.events e cross join lateral (select {HEX} as h) x
         where e.position = any(%s::bigint[]) group by e.stream) x
 where t.stream = x.stream"""
RECORD = """insert into {s}.prunings as p (run, category, source, actor, events, recorded_before, archive,
                                          archive_digest)
values (%(run)s, %(category)s, %(source)s, %(actor)s, %(events)s, %(before)s, %(archive)s, %(digest)s)
on conflict (run, category, source) do update
   set events = p.events + excluded.events, pruned_at = excluded.pruned_at"""
_NO_FILE = {"archive": None, "digest": None}
_PRUNED = "select category, sum(events)::bigint from {s}.prunings group by 1 order by 1"


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Selects events recorded before a moment, of one category or all; `ignored` projections need not have applied."""

    before: datetime
    category: str | None = None
    ignored: Sequence[str] = ()


class Count(msgspec.Struct, frozen=True):
    """The old events of a category: prunable ones, unsent ones, and sent ones that not all projections have applied."""

    category: str
    prunable: int
    unsent: int
    unapplied: int


class Candidate(msgspec.Struct, frozen=True):
    """An event of a batch."""

    position: int
    stream: str
    version: int
    source: str
    old: bool
    prunable: bool


class PruneRun:
    """One run, on an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, which: Which, *, actor: str) -> None:
        self._connection = connection
        self._schema = schema
        self._which = which
        self._actor = actor
        self._run = uuid7()
        self.more = False
        mode = read_mode(connection, schema)  # before Debezium's place: that place is judged by this mode
        self.unsent = unsent_by_debezium(connection, schema)  # the reason why nothing counts as sent
        self._params: dict[str, Any] = {
            "before": which.before,
            "category": which.category,
            "ignored": list(which.ignored),
            "mode": mode,
            "passed": self.unsent is None,
        }

    def count(self) -> list[Count]:
        """Return the numbers of the oldest 50,000 events that would and would not be pruned now, by category.

        Afterwards `more` is true where there are more old events.
        """
        with database_errors():
            *rows, (_, old, *_) = self._execute(_COUNT, self._params | _OLDEST).fetchall()
        self.more = old == COUNTED_EVENTS
        return [Count(*row) for row in rows]

    def waited_for(self) -> list[str]:
        """Return the projections that have not applied all of the oldest 50,000 events."""
        with database_errors():
            return [name for (name,) in self._execute(_WAITED_FOR, self._params | _OLDEST)]

    def batches(self, size: int = BATCH) -> Iterator[int]:
        """Prune, batch after batch; yield the number of events of each. A caller that stops iterating stops the run."""
        with database_errors():
            check_maintenance(self._connection, self._schema)
        after = 0
        while True:
            with database_errors(), self._connection.transaction():
                page = self._candidates(after, size)
                pruned = [item for item in page if item.prunable]
                if pruned:
                    self._prune(pruned)
                # crash point: pruned, not committed -> nothing of the batch has happened
            if pruned:
                yield len(pruned)
            if not any(item.old for item in page):
                return  # later positions are newer
            after = page[-1].position

    def _candidates(self, after: int, size: int) -> list[Candidate]:
        rows = self._execute(_PAGE, self._params | {"after": after, "limit": size}, lock=_LOCK)
        return [Candidate(*row) for row in rows]

    def _prune(self, pruned: Sequence[Candidate]) -> None:
        positions = [item.position for item in pruned]
        self._execute(_MARK, (plain_array(positions),))
        take_away(self._connection, self._schema, positions)
        for (category, source), events in _tally(pruned).items():
            params = {"run": self._run, "category": category, "source": source, "actor": self._actor}
            self._execute(RECORD, {**params, "events": events, "before": self._which.before, **_NO_FILE})

    def _execute(self, statement: str, params: Any, *, lock: str = "") -> psycopg.Cursor[Any]:  # noqa: ANN401 psycopg's
        return self._connection.execute(in_schema(statement, self._schema, lock=lock), params)


def long_ago(connection: psycopg.Connection[Any], age: timedelta) -> datetime:
    """Return the time `age` ago by the database's clock, which has set the events' times."""
    with database_errors():
        row = connection.execute("select clock_timestamp() - %s", (age,)).fetchone()
    if row is None:
        raise AssertionError("PostgreSQL did not return the time")
    moment: datetime = row[0]
    return moment


def take_away(connection: psycopg.Connection[Any], schema: str, positions: Sequence[int]) -> None:
    """Delete events by position, as the maintenance role; their streams' rows are locked by this transaction."""
    where = (plain_array(positions),)
    with maintenance(connection):
        connection.execute(in_schema(_DELETE, schema), where)
    connection.execute(in_schema(_UNTAG, schema), where)
    connection.execute(in_schema(_UNAMEND, schema), where)
    connection.execute(in_schema(FORGET_DECISIONS, schema))


def pruned_categories(connection: psycopg.Connection[Any], schema: str) -> dict[str, int]:
    """Return the number of events that were ever pruned or archived, by category."""
    with database_errors():
        return dict(connection.execute(in_schema(_PRUNED, schema)).fetchall())


def _tally(pruned: Iterable[Candidate]) -> dict[tuple[str, str], int]:
    tally: dict[tuple[str, str], int] = {}
    for item in pruned:
        place = (item.stream.partition("-")[0], item.source)
        tally[place] = tally.get(place, 0) + 1
    return tally
