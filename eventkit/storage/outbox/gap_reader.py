"""Reads events in order of position under concurrent writers; loses none, and keeps the order within a stream.

The relay reads unsent events (`Outbox`), a projector may read all events (`EventLog`): both are a `PositionSource`. The
reader keeps a cursor, the highest position read, and the gaps below it (`eventkit.storage.outbox.gaps`). Every
statement reads all due gaps *and* the rows above the cursor in one snapshot. Where gaps need several statements, no row
above the cursor is taken until all of them are read. The gaps are only valid for one connection: after a lost
connection or a restart of the server, make a new reader.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from eventkit.errors import DatabaseUnavailable
from eventkit.storage.outbox.gaps import Gaps, Holders, missing

logger = logging.getLogger("eventkit.reader")

Row = tuple[Any, ...]
_MAX_HOLE = 1_000  # positions; a longer hole (a crash skips numbers, a sequence was set) is kept as a span


class Ask(msgspec.Struct, frozen=True):
    """Asks for one statement: gaps, spans without the positions in flight, up to `limit` positions above the cursor."""

    cursor: int
    above: bool
    positions: list[int]
    spans: list[tuple[int, int]]
    in_flight: list[int]
    limit: int
    max_bytes: int
    watch: bool = False  # return the holders even without rows: a gap waits for one of them to end


class LogPage(msgspec.Struct, frozen=True):
    """The result of one statement, in one snapshot: rows in order of position.

    A row with a topic of None has only been seen: it is not returned to the reader's caller.
    """

    rows: list[Row]  # position first, topic second
    holders: Holders  # none where there were no rows and `watch` was false
    complete: bool  # False where `limit` or `max_bytes` cut the page
    server: str  # changes when the server restarts, or its tables are made anew


class Horizon(msgspec.Struct, frozen=True):
    """The highest visible position, and the possible owners of lower ones that are not visible."""

    position: int
    holders: Holders
    server: str


class PositionSource(Protocol):
    """A table that a `GapReader` reads."""

    def horizon(self) -> Horizon:
        """Return the highest visible position and the holders, in one statement."""

    def fetch(self, ask: Ask) -> LogPage:
        """Read in one statement; the returned rows must be durable."""


class GapReader:
    """Reads a source page by page.

    `limit` bounds a page's rows, `max_bytes` its size (a single event may exceed it).
    """

    def __init__(self, source: PositionSource, *, limit: int = 4_000, max_bytes: int = 8_000_000) -> None:
        self._source = source  # nothing is read before `start_pending` or `start_after`
        self._limit = limit
        self._max_bytes = max_bytes
        self._cursor = 0
        self._gaps = Gaps()
        self._server = ""
        self._resume: int | None = None  # the position up to which the spans of an unfinished read were taken
        self._before: Holders = frozenset()  # the holders from before that read

    @property
    def cursor(self) -> int:
        """The highest position that was read."""
        return self._cursor

    @property
    def waiting(self) -> int:
        """The number of positions below the cursor that may still appear."""
        return len(self._gaps)

    def start_pending(self) -> None:
        """Start with a source of unsent events: all positions up to the highest visible one are one span to read."""
        horizon = self._source.horizon()
        self._cursor, self._server = horizon.position, horizon.server
        self._gaps = Gaps(horizon.holders)
        self._gaps.add(horizon.holders, span=(0, horizon.position))
        self._resume = None

    def start_after(self, position: int) -> None:
        """Start above a position below which nothing can appear any more (see `floor`)."""
        self._server = self._source.horizon().server
        self._cursor = position
        self._gaps = Gaps()
        self._resume = None

    def floor(self) -> int:
        """Return the position up to which all events were returned or rolled back."""
        positions, spans = self._gaps.known()
        return min([self._cursor, *(p - 1 for p in positions), *(low for low, _ in spans)])

    def read(self, in_flight: Callable[[], Collection[int]] = tuple, *, above: bool = True) -> list[Row]:
        """Return the next rows in order of position; an empty list where there are none yet.

        `in_flight` returns the positions that were read before and are not settled. It is called before the statement,
        and only where spans are read. Without `above`, no row above the cursor is read, only gaps.
        """
        while True:
            if self._resume is None:
                self._before = self._gaps.holders
            page = self._source.fetch(self._ask(in_flight, above=above))
            if page.server != self._server:
                raise DatabaseUnavailable(
                    "the PostgreSQL server was restarted, or its tables were made anew, as by a restore: the known "
                    "gaps are not valid any more, and reading starts again"
                )
            torn = self._resume is not None and self._gaps.torn(self._before, page.holders)
            if not self._gaps.woken(page.holders) and not torn:
                return self._take(page)
            self._resume = None  # the rows are dropped: a transaction that just ended may own events before them

    def sweep(self, in_flight: Collection[int]) -> int:
        """Return the number of rows below the cursor that are neither in flight nor a known gap.

        A number above zero is a bug, and is logged as an error.
        """
        positions, spans = self._gaps.known()
        if spans:
            return 0
        known = [*in_flight, *positions]
        ask = Ask(self._cursor, False, [], [(0, self._cursor)], known, self._limit, self._max_bytes)  # noqa: FBT003 struct field
        strays = [row[0] for row in self._source.fetch(ask).rows]
        if strays:
            logger.error(
                "%d events were skipped, the first at position %d: please report this as a bug",
                len(strays),
                strays[0],
            )
        return len(strays)

    def _ask(self, in_flight: Callable[[], Collection[int]], *, above: bool) -> Ask:
        positions, spans = self._gaps.due()
        resume = self._resume
        if resume is not None:
            spans = [(max(low, resume), high) for low, high in spans if high > resume]
        floor = min((low for low, _ in spans), default=self._cursor)
        flying = [position for position in in_flight() if position > floor] if spans else []
        limits = self._limit, self._max_bytes
        return Ask(self._cursor, above and resume is None, positions, spans, flying, *limits, bool(self._gaps))

    def _take(self, page: LogPage) -> list[Row]:
        rows = _distinct(page.rows)
        positions = [row[0] for row in rows]
        last = positions[-1] if positions else 0
        self._gaps.seen(positions)
        if page.complete or last > self._cursor:
            self._gaps.read_through(self._before)
            self._resume = None
        else:
            self._resume = last
        self._advance(positions[bisect_right(positions, self._cursor) :], page.holders)
        return [row for row in rows if row[1] is not None]

    def _advance(self, above: list[int], holders: Holders) -> None:
        holes: list[int] = []
        for low, high in missing(self._cursor, above):
            if high - low > _MAX_HOLE:
                self._gaps.add(holders, span=(low, high))
            else:
                holes.extend(range(low + 1, high + 1))
        self._gaps.add(holders, positions=holes)
        if above:
            self._cursor = above[-1]


def _distinct(rows: list[Row]) -> list[Row]:
    """Drop the second of two equal positions: a collapsed span may cover another group's gaps."""
    if len({row[0] for row in rows}) == len(rows):
        return rows
    return [row for index, row in enumerate(rows) if not index or row[0] != rows[index - 1][0]]
