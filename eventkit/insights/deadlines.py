"""Reads the deadlines: how many wait or are due, and the next ones, page by page.

A deadline of an archived stream does not count: it waits until the stream is restored.
"""

from typing import Any

from eventkit.insights import process_list
from eventkit.insights.answers import Amount, Page, TimerInsight, TimersInsight
from eventkit.insights.reader import MOST_COUNTED, InsightReader, checked_limit, page_key, read_key
from eventkit.storage.timers import LEASE

_LATE = 5.0  # seconds after which a due deadline is overdue: the worker looks every half second
_WINDOW = 5_000  # deadlines that one call looks at for those of a category

# Each deadline's stream is found by one look-up of the primary key (`offset 0`), whatever the statistics say.
# `limit` bounds the count, unless it is to be exact.
_DUE = f"""select count(*), count(*) filter (where is_open),
       count(*) filter (where is_open and due_at < clock_timestamp() - make_interval(secs => {_LATE})),
       min(due_at) filter (where is_open and due_at < clock_timestamp() - make_interval(secs => {_LATE}))
  from (select t.due_at, not coalesce(c.closed, false) as is_open
          from (select stream, due_at from {{s}}.timers
                 where due_at <= statement_timestamp() order by due_at {{limit}}) t
          left join lateral (select closed from {{s}}.streams where stream = t.stream offset 0) c on true) due"""
_NEXT = f"""select t.due_at
  from (select stream, due_at from {{s}}.timers
         where due_at > statement_timestamp() order by due_at limit {MOST_COUNTED}) t
  left join lateral (select closed from {{s}}.streams where stream = t.stream offset 0) c on true
 where not coalesce(c.closed, false) order by t.due_at limit 1"""
_WAITING = "select from {s}.timers where due_at > statement_timestamp()"
_LEADER = "select owner from {s}.leases where name = %(name)s and expires_at > clock_timestamp()"

# `chosen` is a condition for one stream, or none: with both in one statement, the plan could not use the stream.
_PAGE = """with looked as materialized (
  select stream, name, due_at, type, event_id, set_at from {s}.timers
   where due_at >= %(due_at)s::timestamptz
     and (due_at, stream, name) > (%(due_at)s::timestamptz, %(after_stream)s::text, %(after_name)s::text)
     and {chosen} order by due_at, stream, name limit %(window)s::int
), found as materialized (
  select * from looked where %(category)s::text is null or split_part(stream, '-', 1) = %(category)s::text
   order by due_at, stream, name limit %(limit)s::int
)
select stream, name, due_at, due_at <= clock_timestamp(), type, event_id::text, set_at, true from found
union all
(select stream, name, due_at, null, null, null, null, false from looked
  where case when (select count(*) from found) = %(limit)s::int then false
             else (select count(*) from looked) = %(window)s::int end
  order by due_at desc, stream desc, name desc limit 1)"""


def timers(reader: InsightReader, *, exact: bool = False) -> TimersInsight:
    """Return how many deadlines wait, are due and are overdue."""
    limit = "" if exact else f"limit {MOST_COUNTED + 1}"
    looked, due, overdue, oldest = reader.row(_DUE, limit=limit)
    counted = exact or looked <= MOST_COUNTED
    leaders, following = reader.rows(_LEADER, {"name": LEASE}), reader.rows(_NEXT)
    return TimersInsight(
        waiting=reader.amount(_WAITING, exact=exact),
        due=Amount(value=due, is_exact=counted),
        overdue=Amount(value=overdue, is_exact=counted),
        next_due_at=following[0][0] if following else None,
        oldest_overdue_at=oldest,
        leader=leaders[0][0] if leaders else None,
        rate=process_list.total(process_list.live(reader, "timers"), "rate"),
    )


def page(
    reader: InsightReader, *, category: str | None, stream: str | None, after: str | None, limit: int
) -> Page[TimerInsight]:
    """Return deadlines, the soonest first."""
    due_at, after_stream, after_name = read_key(after, str, str, str) or ("-infinity", "", "")
    rows = reader.rows(
        _PAGE,
        {
            "due_at": due_at,
            "after_stream": after_stream,
            "after_name": after_name,
            "stream": stream,
            "category": category,
            "limit": checked_limit(limit) + 1,
            "window": _WINDOW,
        },
        chosen="true" if stream is None else "stream = %(stream)s::text",
    )
    found = [row for row in rows if row[7]]
    items = tuple(_timer(row) for row in found[:limit])
    ends = [row for row in rows if not row[7]]  # the last of a full window
    if len(found) > limit:
        return Page(items=items, next=_key(found[limit - 1]))
    return Page(items=items, next=_key(ends[0]) if ends else None)


def _key(row: tuple[Any, ...]) -> str:
    return page_key(row[2].isoformat(), row[0], row[1])


def _timer(row: tuple[Any, ...]) -> TimerInsight:
    names = ("stream", "name", "due_at", "is_due", "type", "event_id", "set_at")
    return TimerInsight(**dict(zip(names, row[:7], strict=True)))
