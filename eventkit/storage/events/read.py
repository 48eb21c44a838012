"""Reads events back in pages: a stream by version, all events by position. A `Paging` returns statements, takes rows.

A stream read forwards is whole, or StreamPruned is raised. A stream read backwards, and all events by position, have
no such check. Reading returns the recorded events: an amendment is only for the readers of the topic.

`LogForwards` stops before a position that could still be filled, so a reader can continue from its last position. A
missing position is a gap; the transaction that drew it holds a lock on `events` until it ends. Each statement returns
the holders of that lock, read after its snapshot. A gap's possible owners are the holders that the statement which
found it returned, without those that a later list lacks. If a statement began after the last owner had ended and does
not see the position, the position was rolled back (docs/decisions/0003). While all owners live, reading ends before
the gap.
"""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, Protocol

import msgspec

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent, NotPrimary, StreamPruned, UnsupportedConnection
from eventkit.storage.db import Row, Statement, Steps, database_errors, plain_array, text_array, text_in_schema
from eventkit.storage.outbox import NEARLY_BYTES, OTHERS, Holders, encoded, missing, split_holders
from eventkit.storage.privacy import Encryption

MAX_BYTES = 8_000_000  # approximate size of the events of one statement
COLUMNS = """position, null::text, stream, version, id::text, source, type, schema_version,
  to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  nullif(metadata::text, '{{}}'), data::text"""
# An event that does not match is read as its position alone: only a missing position is a gap.
_CHOSEN = """left join lateral (
       select e.stream, e.version, e.id, e.source, e.type, e.schema_version, e.recorded_at, e.metadata, e.data
        where {match}) x on true"""

# A page is bounded by the bytes of its events, before any large value is fetched. In place of the topic, each row has
# the number of rows before the cut, so a page that was cut by its bytes differs from the last page.
_OF_PAGE = COLUMNS.replace("null::text", "found::text", 1)


def _page(rows: str, order: str) -> str:
    """Cut a statement's rows, which it orders and limits, by their bytes; a single event may exceed them."""
    return f"""(select {_OF_PAGE} from (
  select *, count(*) over () as found, {NEARLY_BYTES} as bytes,
         sum({NEARLY_BYTES}) over (order by {order} rows unbounded preceding) as running
    from ({rows}) e) page
 where coalesce(running - bytes, 0) < {MAX_BYTES} order by {order})"""


_STREAM = _page(
    """select * from {s}.events
   where stream = %(stream)s::text and version > %(after)s::int and version < %(before)s::int and {when}
   order by version {direction} limit %(limit)s::int""",
    "version {direction}",
)

# After the events a row at position 0, where the next events of the stream were pruned; in the same snapshot.
_WHOLE_STREAM = f"""{_STREAM}
union all
select 0::bigint, null, null, pruned_to, null, null, null, null, null, null, null from {{s}}.streams
 where stream = %(stream)s::text and pruned_to > %(after)s::int"""

_BACKWARDS = _page(
    """select * from {s}.events
   where position > %(after)s::bigint and position < %(before)s::bigint and {match}
   order by position desc limit %(limit)s::int""",
    "position desc",
)

_FRESH = _page(
    f"""select e.position, x.* from {{s}}.events e {_CHOSEN}
    where e.position > %(cursor)s::bigint order by e.position limit %(above)s::int""",
    "position",
)
_LATE = _page(
    f"""select r.* from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) g(low, high) cross join lateral (
     select e.position, x.* from {{s}}.events e {_CHOSEN}
      where e.position > g.low and e.position <= g.high
      order by e.position limit %(limit)s::int) r
    order by position limit %(limit)s::int""",
    "position",
)
# Events above the cursor and events that have appeared in gaps, in one snapshot; the first row has the holders.
_FORWARDS = f"""select 0::bigint,
       ({OTHERS}),
       current_setting('transaction_isolation'), pg_is_in_recovery()::int,
       null, null, null, null::smallint, null, null, null
union all
{_FRESH}
union all
{_LATE}"""

_BEYOND = 2**63 - 1
_BEYOND_VERSION = 2**31 - 1


def check_moment(moment: datetime | None) -> None:
    """Refuse a time without a zone, and other values."""
    if moment is not None and not isinstance(moment, datetime):
        raise InvalidEvent(f"{moment!r} is no datetime: give one with a time zone, such as datetime.now(UTC)")
    if moment is not None and moment.utcoffset() is None:
        raise InvalidEvent(f"{moment} has no time zone: datetime.now(UTC), for instance, has one")


class Chosen(msgspec.Struct, frozen=True):
    """Selects events by type, as (source, name), by category and by the time of recording."""

    types: tuple[tuple[str, str], ...] = ()
    categories: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for moment in (self.since, self.until):
            check_moment(moment)

    @property
    def match(self) -> str:
        """The condition in SQL."""
        parts = [condition for name, condition in _MATCHES.items() if getattr(self, name)]
        return " and ".join(parts) or "true"

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the condition."""
        return {
            "sources": text_array(source for source, _ in self.types),
            "types": text_array(name for _, name in self.types),
            "categories": text_array(self.categories),
            "since": self.since,
            "until": self.until,
        }


_MATCHES = {
    "types": "(source, type) in (select * from unnest(%(sources)s::text[], %(types)s::text[]))",
    "categories": "split_part(stream, '-', 1) = any(%(categories)s::text[])",
    "since": "recorded_at >= %(since)s::timestamptz",
    "until": "recorded_at < %(until)s::timestamptz",
}
ALL = Chosen()
_UP_TO = "recorded_at <= %(until)s::timestamptz"


class ReadSql:
    """The statements for one PostgreSQL schema, built once for each kind of choice."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    @cache  # noqa: B019 a store has one, for as long as it lives
    def of_stream(self, *, backwards: bool, timed: bool) -> str:
        """Return the statement that reads a stream, up to a time where it is `timed`."""
        text, direction = (_STREAM, "desc") if backwards else (_WHOLE_STREAM, "")
        when = _UP_TO if timed else "true"
        return text_in_schema(text, self._schema, direction=direction, when=when)

    @cache  # noqa: B019 likewise
    def of_all(self, match: str, *, backwards: bool) -> str:
        """Return the statement that reads all events that match a condition."""
        return text_in_schema(_BACKWARDS if backwards else _FORWARDS, self._schema, match=match)


class Window(msgspec.Struct):
    """The part to read: above `after`, at most `limit` events, `batch` a statement."""

    after: int
    limit: int | None
    batch: int

    def __post_init__(self) -> None:
        for name, lowest, beyond in (("after", 0, _BEYOND), ("limit", 0, _BEYOND), ("batch", 1, _BEYOND_VERSION)):
            value = getattr(self, name)
            if (value is not None or name != "limit") and (type(value) is not int or not lowest <= value < beyond):
                raise InvalidEvent(f"{name}={value!r}: give a whole number of {lowest} to {beyond - 1}")

    @property
    def size(self) -> int:
        """The most events that the next statement may return."""
        return self.batch if self.limit is None else min(self.batch, self.limit)

    def taken(self, count: int) -> bool:
        """Count events; return whether the limit is reached."""
        if self.limit is not None:
            self.limit -= count
        return self.limit == 0


class Paging(Protocol):
    """A read in pages: `ask` for a statement and `take` its rows, until it is `over`."""

    over: bool

    def ask(self) -> Statement:
        """Return the next statement."""

    def take(self, rows: list[Row]) -> list[Row]:
        """Take the statement's rows; return the next rows of the read."""


def page_steps(pages: Paging, sealing: Encryption) -> Steps[list[EncodedEvent]]:
    """Read one page; decrypt personal data where the keys are available."""
    with database_errors():
        rows = yield pages.ask()
        events = [encoded(row) for row in pages.take(rows) if is_chosen(row)]
        if sealing.masters is not None:
            yield from sealing.open(events)
    return events


def is_cut(page: list[Row], limit: int) -> bool:
    """Return whether there may be more rows: the page was cut by its number of rows or by its bytes."""
    return len(page) == limit or bool(page and int(page[0][1]) > len(page))


def is_chosen(row: Row) -> bool:
    """Return whether a row is an event that matches, and not only the position of another one."""
    return row[2] is not None


class End(NamedTuple):
    """Where the reading of a stream ends: before a version, after a time."""

    before: int = _BEYOND_VERSION
    until: datetime | None = None

    @classmethod
    def of(cls, until: int | datetime | None, before: int | None) -> "End":
        """Return the end given by `until`, an inclusive version or time, or by `before`, an exclusive version."""
        if until is not None and before is not None:
            raise InvalidEvent(f"until={until!r} and before={before!r}: give one of them")
        if isinstance(until, datetime):
            check_moment(until)
            return cls(until=until)
        if until is None and before is None:
            return cls()
        last = before if until is None else until
        if type(last) is not int or not 0 <= last < _BEYOND_VERSION:
            raise InvalidEvent(f"until={until!r}, before={before!r}: give a version, or a time")
        return cls(before=last + (until is not None))


NO_END = End()


class StreamPages:
    """One stream, by version."""

    def __init__(
        self, sql: ReadSql, stream: StreamId, window: Window, *, backwards: bool = False, end: End = NO_END
    ) -> None:
        self._statement = sql.of_stream(backwards=backwards, timed=end.until is not None)
        self._window = window
        self._bound = "before" if backwards else "after"
        self._place = {"after": window.after, "before": end.before}
        self._more: dict[str, Any] = {} if end.until is None else {"until": end.until}
        self._stream = str(stream)
        self.over = window.limit == 0 or window.after >= _BEYOND_VERSION

    def ask(self) -> Statement:
        return self._statement, self._more | numbers(stream=self._stream, limit=self._window.size, **self._place)

    def take(self, rows: list[Row]) -> list[Row]:
        """Return the page; raise StreamPruned where events before it were pruned."""
        if rows and rows[-1][0] == 0:
            raise StreamPruned(self._stream, after=self._place["after"], pruned_to=rows[-1][3])
        last = not is_cut(rows, self._window.size)
        self.over = self._window.taken(len(rows)) or last
        if rows:
            self._place[self._bound] = rows[-1][3]
        return rows


class LogBackwards:
    """Everything visible, newest first."""

    def __init__(self, sql: ReadSql, window: Window, chosen: Chosen = ALL) -> None:
        self._statement = sql.of_all(chosen.match, backwards=True)
        self._chosen = chosen.params
        self._window = window
        self._before = _BEYOND
        self.over = window.limit == 0

    def ask(self) -> Statement:
        place = numbers(after=self._window.after, before=self._before, limit=self._window.size)
        return self._statement, self._chosen | place

    def take(self, rows: list[Row]) -> list[Row]:
        last = not is_cut(rows, self._window.size)
        self.over = self._window.taken(len(rows)) or last
        if rows:
            self._before = rows[-1][0]
        return rows


class Gap(msgspec.Struct):
    """Positions above `low`, up to `high`, that were not visible, and their possible owners."""

    low: int
    high: int
    owners: Holders


class LogForwards:
    """All events, oldest first, up to the first position that an open transaction may own."""

    def __init__(self, sql: ReadSql, window: Window, chosen: Chosen = ALL) -> None:
        self._statement = sql.of_all(chosen.match, backwards=False)
        self._chosen = chosen.params
        self._window = window
        self._cursor = window.after  # the highest position looked at
        self._gaps: list[Gap] = []  # below the cursor, ascending
        self._held: list[Row] = []  # rows above the lowest gap, ascending
        self._page = window.size if chosen is ALL else window.batch  # most rows may be of other events
        self._above = self._page  # the number of rows above the cursor to ask for
        self._tail = False  # a statement returned fewer: newer events are for the next read
        self.over = window.limit == 0

    def ask(self) -> Statement:
        """Return the statement that reads above the cursor and in the gaps, in one snapshot."""
        params = self._chosen | numbers(cursor=self._cursor, above=self._above, limit=self._window.batch)
        params["lows"] = plain_array(gap.low for gap in self._gaps)
        params["highs"] = plain_array(gap.high for gap in self._gaps)
        return self._statement, params

    def take(self, rows: list[Row]) -> list[Row]:
        """Return the rows below the lowest gap."""
        head, *rows = sorted(rows, key=_position)
        check_gap_proof(isolation=head[2], recovering=head[3])
        holders = split_holders(head[1])
        late = [row for row in rows if row[0] <= self._cursor]
        fresh = [row for row in rows if row[0] > self._cursor]
        stuck = self._settle(late, holders)
        self._gaps += [Gap(low, high, holders) for low, high in missing(self._cursor, [row[0] for row in fresh])]
        self._cursor = fresh[-1][0] if fresh else self._cursor
        self._held = sorted([*self._held, *late, *fresh], key=_position)
        self._tail |= not is_cut(fresh, self._above)
        return self._release(stuck=stuck)

    def _settle(self, late: list[Row], holders: Holders) -> bool:
        """Fill and drop gaps; return whether all possible owners of the lowest gap are still open."""
        covered = late[-1][0] if is_cut(late, self._window.batch) else self._cursor
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
            count = _up_to(self._held[:count], self._window.limit)
        ready, self._held = self._held[:count], self._held[count:]
        chosen = 0 if self._window.limit is None else sum(map(is_chosen, ready))
        self.over = self._window.taken(chosen) or stuck or (self._tail and not self._gaps and not self._held)
        full = len(self._held) > self._window.batch or sum(map(_size, self._held)) > MAX_BYTES
        self._above = 0 if self._tail or full else self._page
        return ready


def _up_to(rows: list[Row], limit: int) -> int:
    """Return the number of rows up to the `limit`-th event that matches; all rows where there are fewer."""
    wanted = [place for place, row in enumerate(rows, 1) if is_chosen(row)]
    return wanted[limit - 1] if limit <= len(wanted) else len(rows)


def _size(row: Row) -> int:
    return len(row[10] or "")


def _without(gap: Gap, seen: list[int]) -> list[Gap]:
    """Return the parts of a gap that are still missing, given ascending positions that have appeared."""
    inside = [position for position in seen if gap.low < position <= gap.high]
    return [Gap(low, high, gap.owners) for low, high in missing(gap.low, [*inside, gap.high + 1])]


def check_gap_proof(*, isolation: str, recovering: int) -> None:
    """Raise where a connection cannot show the transactions that may still fill a missing position."""
    if recovering:
        raise NotPrimary(
            "read_all forwards needs the primary: a standby does not show the transactions that may still fill a "
            "missing position"
        )
    if isolation != "read committed":
        raise UnsupportedConnection(
            f"read_all forwards needs READ COMMITTED, this transaction is {isolation.upper()}: its snapshot does not "
            "show whether a missing position was filled; read on another connection, or backwards"
        )


def _position(row: Row) -> int:
    position: int = row[0]
    return position


def numbers(**params: str | int) -> dict[str, Any]:
    """Write numbers as text: psycopg types them by size, and each type would prepare the statement anew."""
    return {name: str(value) for name, value in params.items()}
