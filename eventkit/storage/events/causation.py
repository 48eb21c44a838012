"""Reads the events of one correlation id, the causes of an event, and its effects.

`CorrelatedPages` reads a correlation id by its index, in order of position. Forwards, like `read_all`, it stops before
a position that an open transaction could still fill: it reads the highest position and the holders of the lock on
`events`. When these have ended, everything up to that position is visible. While one of them is open, reading ends
before the first missing position. The first event of a story has no correlation id: its own id is the story's.

An event names its cause by `causation_id`. Causes are found by id, effects by an index on `causation_id`. Both indexes
are partial: an event without metadata has no entry in them.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.errors import InvalidEvent
from eventkit.storage.db import Row, Statement, Steps, database_errors, text_in_schema
from eventkit.storage.events.read import COLUMNS, Chosen, Window, check_gap_proof, numbers
from eventkit.storage.outbox import OTHERS, encoded, split_holders
from eventkit.storage.privacy import Encryption

_MAX_WAITS = 20  # of 10 ms, for open appends
_BEYOND = 2**63 - 1

# Each branch is read in order of position by an index, up to the limit, whatever the statistics say.
_PAGE = f"""select {COLUMNS} from (
  select position as place from (
    select position from {{s}}.events where metadata ->> 'correlation_id' = %(story)s::text
       and position > %(after)s::bigint and position < %(before)s::bigint and {{match}}
     order by position {{direction}} limit %(limit)s::int) correlated
  union all
  select position from {{s}}.events where id = %(first)s::uuid
     and metadata ->> 'correlation_id' is distinct from %(story)s::text
     and position > %(after)s::bigint and position < %(before)s::bigint and {{match}}
  order by place {{direction}} limit %(limit)s::int) p
  cross join lateral (select * from {{s}}.events where position = p.place offset 0) e
 order by position {{direction}}"""

_TOP = f"""select coalesce(max(position), 0)::bigint, ({OTHERS}), current_setting('transaction_isolation'),
  pg_is_in_recovery()::int from {{s}}.events, (select pg_sleep(%(pause)s::float8) offset 0) pause"""

# The window reads the primary key in order and stops at the first gap.
_FIRST_GAP = """select before + 1 from (
  select position, lag(position, 1, %(after)s::bigint) over (order by position) as before from {s}.events
   where position > %(after)s::bigint and position <= %(top)s::bigint) e
 where position > before + 1 order by position limit 1"""

# A causation id may be any text: only one that is a UUID can be an event of this store.
_IS_UUID = "'^[0-9a-fA-F]{{8}}(-?[0-9a-fA-F]{{4}}){{3}}-?[0-9a-fA-F]{{12}}$'"
_CAUSES = f"""with recursive chain(depth, cause_of, cause) as (
  select 0, id, metadata ->> 'causation_id' from {{s}}.events where id = %(id)s::uuid
  union all
  select c.depth + 1, e.id, e.metadata ->> 'causation_id' from chain c join {{s}}.events e on e.id =
    case when c.cause ~ {_IS_UUID} then c.cause::uuid end
   where c.depth + 1 < %(limit)s::int
) cycle cause_of set again using path
select {COLUMNS} from chain join {{s}}.events on id = cause_of
 where not again order by depth desc"""

# PostgreSQL runs the recursion only as far as the limit needs: level by level, and no further.
EFFECTS = """with recursive tree(depth, place, cause_of, parent) as (
  select 0, position, id, null::uuid from {s}.events where id = %(id)s::uuid
  union all
  select t.depth + 1, e.position, e.id, t.cause_of from tree t cross join lateral (
    select position, id from {s}.events where metadata ->> 'causation_id' = t.cause_of::text
     order by position limit %(limit)s::int) e
) cycle cause_of set again using path"""
_TREE = f"""{EFFECTS}
select {COLUMNS}, parent::text from (select * from tree where not again limit %(limit)s::int) t
  cross join lateral (select * from {{s}}.events where position = t.place offset 0) e order by t.depth, position"""


class Caused(NamedTuple):
    """An event of a causation tree; `depth` is 0 for the event that was asked for, 1 for its effects, and so on."""

    depth: int
    envelope: Envelope[Any]


class CausationTree(list[Caused]):
    """An event and its effects, in the order of a drawn tree; `is_cut` says that there are more than the limit."""

    def __init__(self, found: Iterable[Caused] = (), *, is_cut: bool = False) -> None:
        super().__init__(found)
        self.is_cut = is_cut


class FoundTree(NamedTuple):
    """The encoded events of a tree with their depth, and whether there are more."""

    events: list[tuple[int, EncodedEvent]]
    is_cut: bool


class StorySql:
    """The statements for one PostgreSQL schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self.top, self.first_gap = text_in_schema(_TOP, schema), text_in_schema(_FIRST_GAP, schema)
        self.causes, self.tree = text_in_schema(_CAUSES, schema), text_in_schema(_TREE, schema)

    @cache  # noqa: B019 a store has one, for as long as it lives
    def page(self, match: str, *, backwards: bool) -> str:
        """Return the statement that reads a page of a correlation id's events."""
        return text_in_schema(_PAGE, self._schema, match=match, direction="desc" if backwards else "")


class CorrelatedPages:
    """The events of a correlation id, by position; a `Paging`."""

    def __init__(self, sql: StorySql, story: str, window: Window, chosen: Chosen, *, backwards: bool) -> None:
        if not story or type(story) is not str or not _is_stored(story):
            raise InvalidEvent(f"correlation_id={story!r:.100}: give a text, such as envelope.correlation_id")
        self._sql, self._window, self._backwards = sql, window, backwards
        self._statement = sql.page(chosen.match, backwards=backwards)
        self._params = chosen.params | {"story": story, "first": _uuid(story)}
        self._place = {"after": window.after, "before": _BEYOND}
        self._settled = backwards  # whether no position below `before` can still be filled
        self._top: int | None = None
        self._open: frozenset[str] = frozenset()  # holders that may own a missing position
        self._waits = _MAX_WAITS
        self.over = window.limit == 0

    def ask(self) -> Statement:
        """Return a statement for the end of the settled positions, then statements for pages."""
        if self._settled:
            return self._statement, self._params | numbers(limit=self._window.size, **self._place)
        if self._waits:
            return self._sql.top, {"pause": "0" if self._top is None else "0.01"}
        return self._sql.first_gap, numbers(after=self._window.after, top=self._top or 0)

    def take(self, rows: list[Row]) -> list[Row]:
        if not self._settled:
            self._settle(rows)
            return []
        short = len(rows) < self._window.size
        self.over = self._window.taken(len(rows)) or short
        if rows:
            self._place["before" if self._backwards else "after"] = rows[-1][0]
        return rows

    def _settle(self, rows: list[Row]) -> None:
        if not self._waits:  # an append is still open: end before the first missing position
            self._place["before"] = rows[0][0] if rows else self._place["before"]
            self._settled = True
            return
        top, holders, isolation, recovering = rows[0]
        check_gap_proof(isolation=isolation, recovering=recovering)
        if self._top is None:
            self._top, self._open = top, split_holders(holders)
            self._place["before"] = top + 1
        self._open &= split_holders(holders)
        self._waits -= 1
        self._settled = not self._open


def causes_steps(sql: StorySql, event_id: UUID, limit: int, sealing: Encryption) -> Steps[list[EncodedEvent]]:
    """Read an event's causes and the event, the first cause first; an empty list where there is no such event."""
    with database_errors():
        rows = yield sql.causes, {"id": _id(event_id), "limit": _count(limit)}
        events = [encoded(row) for row in rows]
        if sealing.masters is not None:
            yield from sealing.open(events)
    return events


def tree_steps(sql: StorySql, event_id: UUID, limit: int, sealing: Encryption) -> Steps[FoundTree]:
    """Read an event and all its effects, each event followed by its own effects, with their depth."""
    _count(limit)
    with database_errors():
        rows = yield sql.tree, {"id": _id(event_id), "limit": str(limit + 1)}  # one more says whether the tree is cut
        is_cut = len(rows) > limit
        rows = rows[:limit]
        events = [encoded(row[:-1]) for row in rows]
        if sealing.masters is not None:
            yield from sealing.open(events)
    effects: dict[str | None, list[EncodedEvent]] = {}
    for event, row in zip(events, rows, strict=True):
        effects.setdefault(row[-1], []).append(event)
    found: list[tuple[int, EncodedEvent]] = []
    waiting = [(0, event) for event in effects.get(None, [])]
    while waiting:
        depth, event = waiting.pop()
        found.append((depth, event))
        waiting += [(depth + 1, effect) for effect in reversed(effects.get(event.id, []))]
    return FoundTree(found, is_cut)


def _id(event_id: UUID) -> str:
    if not isinstance(event_id, UUID):
        raise InvalidEvent(f"{event_id!r} is no event id: give a UUID, such as envelope.id")
    return event_id.hex


def _count(limit: int) -> str:
    if type(limit) is not int or not 0 < limit < 2**31 - 1:
        raise InvalidEvent(f"limit={limit!r}: give a whole number from 1 on")
    return str(limit)


def _is_stored(text: str) -> bool:
    """Return whether PostgreSQL's text can have these characters."""
    return not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text)


def _uuid(text: str) -> str | None:
    """Return a correlation id as the id of the story's first event; None where it is not a UUID."""
    try:
        return UUID(text).hex
    except ValueError:
        return None
