"""Reads events back in pages: a stream by version, everything by position. It is asked for statements and takes rows.

A stream forwards is whole or StreamPruned; backwards, and everything by position, is what is there. It reads what was
recorded: an amendment is for the readers of the topic, and for those who stand in for it.

`LogForwards` never passes a position that could still be filled, so that its last position is a place to go on from. A
missing position is a gap; whoever drew it holds a lock on `events` until its end. Each statement returns the holders of
that lock, read after its snapshot. A gap's possible owners are the holders of the statement that found it, without
those that a later list lacks. A statement that began when none was left and still does not see the position proves a
rollback (docs/decisions/0003). While all of them live, the reading ends before the gap.
"""

from typing import Any, Protocol

import msgspec

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent, NotPrimary, StreamPruned, UnsupportedConnection
from eventkit.storage.append_sql import quoted
from eventkit.storage.arrays import plain_array
from eventkit.storage.connection import database_errors
from eventkit.storage.drivers import Row, Statement, Steps
from eventkit.storage.gaps import Holders, missing
from eventkit.storage.outbox import OTHERS, encoded, split_holders
from eventkit.storage.sealing import Sealing

COLUMNS = """position, null::text, stream, version, id::text, source, type, schema_version,
  to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  nullif(metadata::text, '{{}}'), data::text"""
_RAW = "position, stream, version, id, source, type, schema_version, recorded_at, metadata, data"

_STREAM = f"""select {COLUMNS} from {{s}}.events
 where stream = %(stream)s::text and version > %(after)s::int and version < %(before)s::int
 order by version {{direction}} limit %(limit)s::int"""

# Behind the events a row at position 0, where those that come next were pruned, in the same snapshot.
_WHOLE_STREAM = f"""({_STREAM})
union all
select 0::bigint, null, null, pruned_to, null, null, null, null, null, null, null from {{s}}.streams
 where stream = %(stream)s::text and pruned_to > %(after)s::int"""

_BACKWARDS = f"""select {COLUMNS} from {{s}}.events
 where position > %(after)s::bigint and position < %(before)s::bigint
 order by position desc limit %(limit)s::int"""

# What is above the cursor and what has appeared in the gaps, in one snapshot; the first row tells of the statement.
_FORWARDS = f"""select 0::bigint,
       ({OTHERS}),
       current_setting('transaction_isolation'), pg_is_in_recovery()::int,
       null, null, null, null::smallint, null, null, null
union all
(select {COLUMNS} from {{s}}.events where position > %(cursor)s::bigint order by position limit %(above)s::int)
union all
(select {COLUMNS} from (
   select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) g(low, high) cross join lateral (
     select {_RAW} from {{s}}.events e
      where e.position > g.low and e.position <= g.high
      order by e.position limit %(limit)s::int) r
    order by position limit %(limit)s::int) late)"""

_BEYOND = 2**63 - 1
_BEYOND_VERSION = 2**31 - 1


class ReadSql:
    """The statements for one PostgreSQL schema, built once."""

    def __init__(self, schema: str) -> None:
        """Quote the schema's name."""
        s = quoted(schema)
        self.stream = _WHOLE_STREAM.format(s=s, direction="")
        self.stream_backwards = _STREAM.format(s=s, direction="desc")
        self.forwards = _FORWARDS.format(s=s)
        self.backwards = _BACKWARDS.format(s=s)


class Window(msgspec.Struct):
    """What of it to read: above `after`, up to `limit` events, `batch` a statement."""

    after: int
    limit: int | None
    batch: int

    def __post_init__(self) -> None:
        """Refuse what is no number of events."""
        for name, lowest in (("after", 0), ("limit", 0), ("batch", 1)):
            value = getattr(self, name)
            if (value is not None or name != "limit") and (type(value) is not int or not lowest <= value < _BEYOND):
                raise InvalidEvent(f"{name}={value!r}: give a whole number from {lowest} on")

    @property
    def size(self) -> int:
        """How many events the next statement may return."""
        return self.batch if self.limit is None else min(self.batch, self.limit)

    def taken(self, count: int) -> bool:
        """Count events; return whether the limit is reached."""
        if self.limit is not None:
            self.limit -= count
        return self.limit == 0


class Paging(Protocol):
    """A reading that is asked for its next statement until it is over."""

    over: bool

    def ask(self) -> Statement:
        """Return the next statement."""

    def take(self, rows: list[Row]) -> list[Row]:
        """Take its rows; return those that are next."""


def page_steps(pages: Paging, sealing: Sealing) -> Steps[list[EncodedEvent]]:
    """Read one page; personal data is opened where its keys are there."""
    with database_errors():
        rows = yield pages.ask()
        events = [encoded(row) for row in pages.take(rows)]
        if sealing.masters is not None:
            yield from sealing.open(events)
    return events


class StreamPages:
    """One stream, by version."""

    def __init__(self, sql: ReadSql, stream: StreamId, window: Window, *, backwards: bool) -> None:
        self._statement = sql.stream_backwards if backwards else sql.stream
        self._window = window
        self._bound = "before" if backwards else "after"
        self._place = {"after": window.after, "before": _BEYOND_VERSION}
        self._stream = str(stream)
        self.over = window.limit == 0 or window.after >= _BEYOND_VERSION

    def ask(self) -> Statement:
        """Return the next page's statement."""
        return self._statement, _numbers(stream=self._stream, limit=self._window.size, **self._place)

    def take(self, rows: list[Row]) -> list[Row]:
        """Return the page; StreamPruned where it should have begun with events that are gone."""
        if rows and rows[-1][0] == 0:
            raise StreamPruned(self._stream, after=self._place["after"], pruned_to=rows[-1][3])
        short = len(rows) < self._window.size
        self.over = self._window.taken(len(rows)) or short
        if rows:
            self._place[self._bound] = rows[-1][3]
        return rows


class LogBackwards:
    """Everything visible, newest first."""

    def __init__(self, sql: ReadSql, window: Window) -> None:
        self._statement = sql.backwards
        self._window = window
        self._before = _BEYOND
        self.over = window.limit == 0

    def ask(self) -> Statement:
        """Return the next page's statement."""
        return self._statement, _numbers(after=self._window.after, before=self._before, limit=self._window.size)

    def take(self, rows: list[Row]) -> list[Row]:
        """Return the page."""
        short = len(rows) < self._window.size
        self.over = self._window.taken(len(rows)) or short
        if rows:
            self._before = rows[-1][0]
        return rows


class Gap(msgspec.Struct):
    """Positions above `low`, up to `high`, that were not visible, and who may own them."""

    low: int
    high: int
    owners: Holders


class LogForwards:
    """Everything, oldest first, up to the first position that an open transaction may own."""

    def __init__(self, sql: ReadSql, window: Window) -> None:
        self._statement = sql.forwards
        self._window = window
        self._cursor = window.after  # the highest position looked at
        self._gaps: list[Gap] = []  # below the cursor, ascending
        self._held: list[Row] = []  # rows above the lowest gap, ascending
        self._above = window.size  # how many rows above the cursor to ask for
        self._tail = False  # there were fewer: what comes later is for the next reading
        self.over = window.limit == 0

    def ask(self) -> Statement:
        """Ask for what is above the cursor and for the gaps, in one snapshot."""
        params = _numbers(cursor=self._cursor, above=self._above, limit=self._window.batch)
        params["lows"] = plain_array(gap.low for gap in self._gaps)
        params["highs"] = plain_array(gap.high for gap in self._gaps)
        return self._statement, params

    def take(self, rows: list[Row]) -> list[Row]:
        """Return what lies below the lowest gap."""
        head, *rows = sorted(rows, key=_position)
        _check(isolation=head[2], recovering=head[3])
        holders = split_holders(head[1])
        late = [row for row in rows if row[0] <= self._cursor]
        fresh = [row for row in rows if row[0] > self._cursor]
        stuck = self._settle(late, holders)
        self._gaps += [Gap(low, high, holders) for low, high in missing(self._cursor, [row[0] for row in fresh])]
        self._cursor = fresh[-1][0] if fresh else self._cursor
        self._held = sorted([*self._held, *late, *fresh], key=_position)
        self._tail |= len(fresh) < self._above
        return self._release(stuck=stuck)

    def _settle(self, late: list[Row], holders: Holders) -> bool:
        """Fill and drop gaps; return whether the lowest is owned by nobody but transactions that still run."""
        covered = late[-1][0] if len(late) == self._window.batch else self._cursor
        kept = [gap for gap in self._gaps if gap.owners or gap.high > covered]
        self._gaps = [piece for gap in kept for piece in _without(gap, [row[0] for row in late])]
        lowest = self._gaps[0] if self._gaps else None
        stuck = lowest is not None and lowest.high <= covered and lowest.owners <= holders
        for gap in self._gaps:
            gap.owners &= holders
        return stuck

    def _release(self, *, stuck: bool) -> list[Row]:
        floor = self._gaps[0].low if self._gaps else self._cursor
        count = sum(row[0] <= floor for row in self._held)
        if self._window.limit is not None:
            count = min(count, self._window.limit)
        ready, self._held = self._held[:count], self._held[count:]
        self.over = self._window.taken(count) or stuck or (self._tail and not self._gaps and not self._held)
        self._above = 0 if self._tail or len(self._held) > self._window.batch else self._window.size
        return ready


def _without(gap: Gap, seen: list[int]) -> list[Gap]:
    """Return what of a gap is still missing, given ascending positions that have appeared."""
    inside = [position for position in seen if gap.low < position <= gap.high]
    return [Gap(low, high, gap.owners) for low, high in missing(gap.low, [*inside, gap.high + 1])]


def _check(*, isolation: str, recovering: int) -> None:
    if recovering:
        raise NotPrimary(
            "read_all forwards needs the primary: a standby does not show who may still fill a missing position"
        )
    if isolation != "read committed":
        raise UnsupportedConnection(
            f"read_all forwards needs READ COMMITTED, this transaction is {isolation.upper()}: its snapshot does not "
            "show what happened to a missing position; read on a connection of its own, or backwards"
        )


def _position(row: Row) -> int:
    position: int = row[0]
    return position


def _numbers(**params: str | int) -> dict[str, Any]:
    """Write numbers as text: psycopg types them by size, and each type would prepare the statement anew."""
    return {name: str(value) for name, value in params.items()}
