"""Reads events in order of position under concurrent writers, losing and reordering none within a stream.

The relay reads what is unsent (`Outbox`), a projector may read all there is (`EventLog`): both are a `PositionSource`,
and this is the reader of both. It keeps a cursor, the highest position looked at, and the gaps below it
(`eventkit.storage.outbox.gaps`). Every statement reads all due gaps *and* the rows above the cursor in one snapshot;
where gaps need several statements, nothing above the cursor is taken until they are through. Memory belongs to one
connection: after a lost connection or a restart of the server make a new reader.
"""

import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from eventkit.errors import DatabaseUnavailable
from eventkit.storage.outbox.gaps import Gaps, Holders, missing

logger = logging.getLogger("eventkit.reader")

Row = tuple[Any, ...]
_SPAN = 1_000  # a longer hole (a crash jumps ahead, a sequence was set) is kept as a span


class Ask(msgspec.Struct, frozen=True):
    """What one statement shall read.

    Gaps, spans (leaving out what is in flight), and up to `limit` positions above the cursor.
    """

    cursor: int
    above: bool
    positions: list[int]
    spans: list[tuple[int, int]]
    in_flight: list[int]
    limit: int
    max_bytes: int
    watch: bool = False  # tell the holders even where nothing is found: a gap waits for one of them to end


class Page(msgspec.Struct, frozen=True):
    """What one statement returned, all in one snapshot.

    Rows in order of position, of which those with a topic of None are only seen.
    """

    rows: list[Row]  # position first, topic second
    holders: Holders  # none where nothing was found and the holders were not asked for
    complete: bool  # False where `limit` or `max_bytes` cut it short
    server: str  # changes when the server restarts, or its tables are made anew


class Horizon(msgspec.Struct, frozen=True):
    """The highest position that is visible, and who may own lower ones that are not."""

    position: int
    holders: Holders
    server: str


class PositionSource(Protocol):
    """One table's way of asking."""

    def horizon(self) -> Horizon:
        """Return the highest visible position and the holders, in one statement."""

    def fetch(self, ask: Ask) -> Page:
        """Read in one statement, and make sure that what is returned is durable."""


class GapReader:
    """Reads a source page by page.

    `limit` bounds a page's rows, `max_bytes` its size (a single event may exceed it).
    """

    def __init__(self, source: PositionSource, *, limit: int = 4_000, max_bytes: int = 8_000_000) -> None:
        """Read nothing yet: call `start_pending` or `start_after` first."""
        self._source = source
        self._limit = limit
        self._max_bytes = max_bytes
        self._cursor = 0
        self._gaps = Gaps()
        self._server = ""
        self._resume: int | None = None  # how far the spans of an unfinished read have been taken
        self._before: Holders = frozenset()  # the list of holders from before that read

    @property
    def cursor(self) -> int:
        """The highest position that was looked at."""
        return self._cursor

    @property
    def waiting(self) -> int:
        """How many positions below the cursor may still appear."""
        return len(self._gaps)

    def start_pending(self) -> None:
        """Start where the source holds only what is unsent.

        Everything up to the highest visible position is one span, read whole.
        """
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
        """Return the position up to which everything has been returned or was rolled back."""
        positions, spans = self._gaps.known()
        return min([self._cursor, *(p - 1 for p in positions), *(low for low, _ in spans)])

    def read(self, in_flight: Callable[[], Collection[int]] = tuple) -> list[Row]:
        """Return the next rows in order of position; none where there are none yet.

        `in_flight` tells what was returned before and is not settled; it is asked before the statement, and only where
        spans are read.
        """
        while True:
            if self._resume is None:
                self._before = self._gaps.holders
            page = self._source.fetch(self._ask(in_flight))
            if page.server != self._server:
                raise DatabaseUnavailable(
                    "the PostgreSQL server was restarted, or its tables were made anew, as by a restore: what was "
                    "known about gaps is void, reading starts again"
                )
            torn = self._resume is not None and self._gaps.torn(self._before, page.holders)
            if not self._gaps.woken(page.holders) and not torn:
                return self._take(page)
            self._resume = None  # the rows are thrown away: who has just ended may own what should come before them

    def sweep(self, in_flight: Collection[int]) -> int:
        """Return how many rows below the cursor are neither in flight nor a known gap.

        Anything but zero is a bug, and reported as one.
        """
        positions, spans = self._gaps.known()
        if spans:
            return 0
        known = [*in_flight, *positions]
        ask = Ask(self._cursor, False, [], [(0, self._cursor)], known, self._limit, self._max_bytes)  # noqa: FBT003 struct field
        strays = [row[0] for row in self._source.fetch(ask).rows]
        if strays:
            logger.error(
                "%d events were passed over, the first at position %d: please report this as a bug",
                len(strays),
                strays[0],
            )
        return len(strays)

    def _ask(self, in_flight: Callable[[], Collection[int]]) -> Ask:
        positions, spans = self._gaps.due()
        resume = self._resume
        if resume is not None:
            spans = [(max(low, resume), high) for low, high in spans if high > resume]
        floor = min((low for low, _ in spans), default=self._cursor)
        flying = [position for position in in_flight() if position > floor] if spans else []
        watch = bool(self._gaps)
        return Ask(self._cursor, resume is None, positions, spans, flying, self._limit, self._max_bytes, watch)

    def _take(self, page: Page) -> list[Row]:
        rows = _distinct(page.rows)
        last = rows[-1][0] if rows else 0
        self._gaps.seen(row[0] for row in rows)
        if page.complete or last > self._cursor:
            self._gaps.read_through(self._before)
            self._resume = None
        else:
            self._resume = last
        self._advance([row[0] for row in rows if row[0] > self._cursor], page.holders)
        return [row for row in rows if row[1] is not None]

    def _advance(self, above: list[int], holders: Holders) -> None:
        holes: list[int] = []
        for low, high in missing(self._cursor, above):
            if high - low > _SPAN:
                self._gaps.add(holders, span=(low, high))
            else:
                holes.extend(range(low + 1, high + 1))
        self._gaps.add(holders, positions=holes)
        if above:
            self._cursor = above[-1]


def _distinct(rows: list[Row]) -> list[Row]:
    """Drop the second of two equal positions: a collapsed span may cover another group's gaps."""
    return [row for index, row in enumerate(rows) if not index or row[0] != rows[index - 1][0]]
