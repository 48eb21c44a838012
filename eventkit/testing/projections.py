"""Given events, when more of them come, then these rows, events and deadlines: projections, handlers, process managers.

All of it on a real database, with eventkit's tables. A table projection's table is created where it is missing; other
tables are the test's own affair. Each of `given` and `when` is a transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import Select, Table

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError
from eventkit.projection.define import Projection, TableProjection
from eventkit.testing.decisions import check_raised
from eventkit.testing.feed import STREAM, At, Feed
from eventkit.testing.report import check, fail, lines_of
from eventkit.testing.traces import Placed, Traces


class Reading:
    """A scenario of a projection, of handlers or of a process manager."""

    def __init__(
        self, projection: Projection, events: tuple[object, ...], database: str, master_keys: MasterKeys | None = None
    ) -> None:
        """Apply what is given; what that causes is no part of what `then_appended` expects."""
        self._table = projection.rows.table if isinstance(projection, TableProjection) else None
        self._traces = Traces(projection.catalog, database, master_keys)
        self._feed = Feed(projection, database)
        self._story = [f"given {projection.name}", *_told(events)]
        self._error: Exception | None = None
        if self._table is not None:
            self._traces.create(self._table)
        self._feed.apply(events)
        self._before = self._traces.position()

    def when(self, *events: object) -> Self:
        """Let more events come."""
        self._story += ["when", *_told(events)]
        self._try(events)
        return self

    def when_due(self, after: timedelta) -> Self:
        """Let time pass: deadlines that are due by then fire, and the projection is given their events."""
        self._story += ["when", f"    {after} have passed"]
        start = self._traces.position()
        self._traces.fire(datetime.now(UTC) + after)
        fired = [At(stream, (event,)) for stream, event in self._traces.appended(start)]
        self._before = self._traces.position()
        self._try(fired)
        return self

    def then(self, *rows: Mapping[str, Any], of: Table | Select[Any] | None = None) -> Self:
        """Expect these rows of the projection's table, or of what `of` selects, in any order.

        Columns that no row names may hold anything.
        """
        __tracebackhide__ = True
        self._check_fine()
        source = self._table if of is None else of
        if source is None:
            raise ConfigurationError("this projection has no table of its own: say which, then(…, of=table)")
        names = list(dict.fromkeys(name for row in rows for name in row))
        actual = [{name: row.get(name) for name in names or row} for row in self._traces.rows(source)]
        check(_sorted(rows), _sorted(actual), story=self._story, what="the rows")
        return self

    def then_appended(self, *events: object) -> Self:
        """Expect these events and commands to have been appended, in this order; `at(stream, …)` says where."""
        __tracebackhide__ = True
        self._check_fine()
        _check_placed(events, self._traces.appended(self._before), self._story, "the appended events")
        return self

    def then_deadlines(self, *events: object) -> Self:
        """Expect these deadlines to be waiting, the soonest first; `at(stream, …)` says where."""
        __tracebackhide__ = True
        self._check_fine()
        _check_placed(events, self._traces.deadlines(), self._story, "the waiting deadlines")
        return self

    def then_nothing(self) -> Self:
        """Expect that nothing was appended, and nothing raised."""
        __tracebackhide__ = True
        return self.then_appended()

    def then_raises(self, kind: type[Exception], match: str | None = None) -> Self:
        """Expect that a handler raised; `match` is a regular expression found in the error's message."""
        __tracebackhide__ = True
        appended = [event for _, event in self._traces.appended(self._before)]
        check_raised(self._error, kind, match, story=self._story, instead=appended)
        return self

    def _try(self, events: Iterable[object]) -> None:
        try:
            self._feed.apply(events)
        except Exception as error:  # noqa: BLE001 `then_raises` may expect it
            self._error = error

    def _check_fine(self) -> None:
        __tracebackhide__ = True
        if self._error:
            fail("it raised", f"    {self._error!r}", story=self._story, cause=self._error)


def _check_placed(expected: Iterable[object], actual: Sequence[Placed], story: list[str], what: str) -> None:
    """Compare events; where the expected ones say no stream, any will do."""
    __tracebackhide__ = True
    wanted = _placed(expected)
    if any(stream == STREAM for stream, _ in wanted):
        check([event for _, event in wanted], [event for _, event in actual], story=story, what=what)
    else:
        check(wanted, list(actual), story=story, what=what)


def _placed(events: Iterable[object]) -> list[Placed]:
    parts = [one if isinstance(one, At) else At(STREAM, (one,)) for one in events]
    return [(part.stream, event) for part in parts for event in part.events]


def _told(events: Iterable[object]) -> list[str]:
    return [
        f"    {line}"
        for stream, event in _placed(events)
        for line in ([] if stream == STREAM else [f"{stream}:"]) + lines_of(event)
    ]


def _sorted(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: repr(sorted(row.items())))
