"""Pages of a stream by version, and of all events backwards. A `Paging` returns statements, takes rows.

A stream read forwards is whole, or StreamPruned is raised. A stream read backwards, and all events by position, have
no such check. Reading returns the recorded events: an amendment is only for the readers of the topic.
"""

from typing import Any, Protocol

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.stream import StreamId
from eventkit.errors import StreamPruned
from eventkit.storage.db import Row, Statement, Steps, database_errors
from eventkit.storage.events.read.selection import ALL, BEYOND, BEYOND_VERSION, NO_END, Chosen, End, Window
from eventkit.storage.events.read.statements import ReadSql, numbers
from eventkit.storage.outbox import encoded
from eventkit.storage.privacy import Encryption


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
        self.over = window.limit == 0 or window.after >= BEYOND_VERSION

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
        self._before = BEYOND
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
