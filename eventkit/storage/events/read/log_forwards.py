"""Reads all events forwards, and stops before a position that could still be filled.

So a reader can continue from its last position. A missing position is a gap; the transaction that drew it holds a lock
on `events` until it ends. Each statement returns the holders of that lock, read after its snapshot. A gap's possible
owners are the holders that the statement which found it returned, without those that a later list lacks. If a statement
began after the last owner had ended and does not see the position, the position was rolled back (docs/decisions/0003).
While all owners live, reading ends before the gap.
"""

import msgspec

from eventkit.errors import NotPrimary, UnsupportedConnection
from eventkit.storage.db import Row, Statement, plain_array
from eventkit.storage.events.read.pages import is_chosen, is_cut
from eventkit.storage.events.read.selection import ALL, Chosen, Window
from eventkit.storage.events.read.statements import MAX_BYTES, ReadSql, numbers
from eventkit.storage.outbox import Holders, missing, split_holders


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
