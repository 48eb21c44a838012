"""Scenarios of projections, handlers and process managers: given, when events; then rows, events, deadlines.

They run on a real database with eventkit's tables. A missing table of a table projection is created; the test creates
other tables. `given` and each `when` are one transaction each.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import Select, Table

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError
from eventkit.projection.define import Projection, TableProjection
from eventkit.testing.feed import STREAM, At, Feed
from eventkit.testing.report import check, lines_of
from eventkit.testing.scenario import Scenario
from eventkit.testing.traces import Placed, Traces


class Reading(Scenario):
    """A scenario of a projection, of handlers or of a process manager."""

    def __init__(
        self, projection: Projection, events: tuple[object, ...], database: str, master_keys: MasterKeys | None = None
    ) -> None:
        """Apply the given events; `then_appended` does not count the events that they cause."""
        super().__init__(f"given {projection.name}", *_story_lines(events))
        self._table = projection.rows.table if isinstance(projection, TableProjection) else None
        self._traces = Traces(projection.catalog, database, master_keys)
        self._feed = Feed(projection, database)
        if self._table is not None:
            self._traces.create(self._table)
        self._feed.apply(events)
        self._before = self._traces.position()

    def when(self, *events: object) -> Self:
        """Apply more events."""
        self._story += ["when", *_story_lines(events)]
        self._try(events)
        return self

    def when_due(self, after: timedelta) -> Self:
        """Fire the deadlines that are due after a time, and apply their events."""
        self._story += ["when", f"    {after} have passed"]
        start = self._traces.position()
        self._traces.fire(datetime.now(UTC) + after)
        fired = [At(stream, (event,)) for stream, event in self._traces.appended(start)]
        self._before = self._traces.position()
        self._try(fired)
        return self

    def then(self, *rows: Mapping[str, Any], of: Table | Select[Any] | None = None) -> Self:
        """Expect these rows, in any order, in the projection's table, or in the table or query `of`.

        Columns that no row names are not compared.
        """
        __tracebackhide__ = True
        self._check_fine()
        source = self._table if of is None else of
        if source is None:
            raise ConfigurationError("this projection declares no table: name one, then(…, of=table)")
        names = list(dict.fromkeys(name for row in rows for name in row))
        actual = [{name: row.get(name) for name in names or row} for row in self._traces.rows(source)]
        check(_sorted(rows), _sorted(actual), story=self._story, subject="the rows")
        return self

    def then_appended(self, *events: object) -> Self:
        """Expect exactly these appended events and commands, in this order; `at(stream, …)` adds the stream."""
        __tracebackhide__ = True
        self._check_fine()
        _check_placed(events, self._traces.appended(self._before), self._story, "the appended events")
        return self

    def then_deadlines(self, *events: object) -> Self:
        """Expect exactly these waiting deadlines, the soonest first; `at(stream, …)` adds the stream."""
        __tracebackhide__ = True
        self._check_fine()
        _check_placed(events, self._traces.deadlines(), self._story, "the waiting deadlines")
        return self

    def then_nothing(self) -> Self:
        """Expect no appended event and no error."""
        __tracebackhide__ = True
        return self.then_appended()

    def _outcome(self) -> list[object]:
        return [event for _, event in self._traces.appended(self._before)]

    def _try(self, events: Iterable[object]) -> None:
        try:
            self._feed.apply(events)
        except Exception as error:  # noqa: BLE001 `then_raises` may expect it
            self._error = error


def _check_placed(expected: Iterable[object], actual: Sequence[Placed], story: list[str], subject: str) -> None:
    """Compare events, and their streams if all expected events have one."""
    __tracebackhide__ = True
    wanted = _placed(expected)
    if any(stream == STREAM for stream, _ in wanted):
        check([event for _, event in wanted], [event for _, event in actual], story=story, subject=subject)
    else:
        check(wanted, list(actual), story=story, subject=subject)


def _placed(events: Iterable[object]) -> list[Placed]:
    parts = [one if isinstance(one, At) else At(STREAM, (one,)) for one in events]
    return [(part.stream, event) for part in parts for event in part.events]


def _story_lines(events: Iterable[object]) -> list[str]:
    return [
        f"    {line}"
        for stream, event in _placed(events)
        for line in ([] if stream == STREAM else [f"{stream}:"]) + lines_of(event)
    ]


def _sorted(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: repr(sorted(row.items())))
