"""Reads the processes that write heartbeats; one without a heartbeat for 15 seconds is gone."""

from collections.abc import Iterable
from typing import Any

from eventkit.insights.answers import Page, ProcessInsight
from eventkit.insights.reader import InsightReader, checked_limit, page_key, read_key
from eventkit.storage.processes import GONE

_MOST = 500  # processes that an answer about the relay or a projection looks at

_PAGE = """select id::text, role, name, host, pid, version, started_at, seen_at,
       seen_at < clock_timestamp() - make_interval(secs => %(gone)s), state
  from {s}.processes where (role, name, id::text) > (%(role)s, %(name)s, %(id)s)
 order by role, name, id::text limit %(limit)s"""


def page(reader: InsightReader, after: str | None, limit: int) -> Page[ProcessInsight]:
    """Return processes in order of role and name."""
    role, name, last = read_key(after, str, str, str) or ("", "", "")
    params = {"gone": GONE, "role": role, "name": name, "id": last, "limit": checked_limit(limit) + 1}
    rows = reader.rows(_PAGE, params)
    items = tuple(_process(row) for row in rows[:limit])
    more = len(rows) > limit
    return Page(items=items, next=page_key(items[-1].role, items[-1].name, items[-1].id) if more else None)


def live(reader: InsightReader, *roles: str) -> list[ProcessInsight]:
    """Return the processes of these roles that are not gone."""
    return [each for each in page(reader, None, _MOST).items if each.role in roles and not each.is_gone]


def total(processes: Iterable[ProcessInsight], name: str) -> float:
    """Return the sum of a number that these processes report."""
    return sum(number(process.state, name) for process in processes)


def number(state: dict[str, Any], name: str) -> float:
    """Return a number of a state; 0 where it has none."""
    value = state.get(name, 0)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _process(row: tuple[Any, ...]) -> ProcessInsight:
    names = ("id", "role", "name", "host", "pid", "version", "started_at", "seen_at", "is_gone", "state")
    return ProcessInsight(**dict(zip(names, row, strict=True)))
