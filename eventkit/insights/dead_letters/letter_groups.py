"""Reads dead letters in groups of projection, cause and category, by a loose scan over one index.

The index is on (parked_by, cause, category, id). So a group costs a few look-ups, and a count up to its limit.
"""

from typing import Any

from eventkit.insights.answers import Amount, DeadLetterGroup
from eventkit.insights.reader import MOST_COUNTED, InsightReader, checked_limit

_CATEGORY = "split_part(stream, '-', 1)"

_GROUPS = f"""with recursive g(by, cause, category) as (
  (select parked_by, cause, {_CATEGORY} from {{s}}.dead_letters order by 1, 2, 3 limit 1)
  union all
  select n.* from g cross join lateral (
    select parked_by, cause, {_CATEGORY} from {{s}}.dead_letters
     where (parked_by, cause, {_CATEGORY}) > (g.by, g.cause, g.category) order by 1, 2, 3 limit 1) n
)
select g.by, g.cause, g.category, first.parked_at, last.parked_at, last.id, last.error,
       (select count(*) from (select from {{s}}.dead_letters d where d.parked_by = g.by and d.cause = g.cause
           and {_CATEGORY} = g.category {{limit}}) counted)
  from (select * from g limit %(limit)s) g
  cross join lateral (select parked_at from {{s}}.dead_letters d where d.parked_by = g.by and d.cause = g.cause
           and {_CATEGORY} = g.category order by id limit 1) first
  cross join lateral (select id, parked_at, error from {{s}}.dead_letters d where d.parked_by = g.by
           and d.cause = g.cause and {_CATEGORY} = g.category order by id desc limit 1) last"""
_OF_GROUP = f"""select from {{s}}.dead_letters where parked_by = %(by)s and cause = %(cause)s
   and {_CATEGORY} = %(category)s"""
_GENERATIONS = """select generation from {s}.projections union all select generation from {s}.rebuilds"""
_PARKED_BY = """with recursive p(by) as (
  (select parked_by from {s}.dead_letters order by parked_by limit 1)
  union all
  select (select d.parked_by from {s}.dead_letters d where d.parked_by > p.by order by d.parked_by limit 1)
    from p where by is not null
) select by from p where by is not null"""


def groups(reader: InsightReader, *, limit: int, exact: bool = False) -> list[DeadLetterGroup]:
    """Return the groups, the largest first."""
    statement = _GROUPS.replace("{limit}", "" if exact else f"limit {MOST_COUNTED + 1}")
    rows = reader.rows(statement, {"limit": checked_limit(limit)})
    current = generations(reader)
    found = [_group(reader, row, current, exact=exact) for row in rows]
    return sorted(found, key=lambda group: (-group.amount.value, group.parked_by, group.cause, group.category))


def generations(reader: InsightReader) -> set[int]:
    """Return the generations that are live or being built; letters of others are stale."""
    return {number for (number,) in reader.rows(_GENERATIONS)}


def parked_by_names(reader: InsightReader, name: str | None) -> list[str]:
    """Return each `parked_by` of the letters of a projection, of all its generations, or of all letters."""
    return [by for (by,) in reader.rows(_PARKED_BY) if name is None or name in (by, split(by)[0])]


def split(parked_by: str) -> tuple[str, int | None]:
    """Return the projection's name and generation; the relay has none."""
    kind, _, rest = parked_by.partition(":")
    name, _, generation = rest.rpartition(":")
    return (name, int(generation)) if kind == "projection" and generation.isdecimal() else (parked_by, None)


def _group(reader: InsightReader, row: tuple[Any, ...], current: set[int], *, exact: bool) -> DeadLetterGroup:
    by, cause, category, first, last, example, error, counted = row
    name, generation = split(by)
    amount = Amount(value=counted, is_exact=True)
    if not exact and counted > MOST_COUNTED:
        amount = reader.amount(_OF_GROUP, {"by": by, "cause": cause, "category": category})
    return DeadLetterGroup(
        parked_by=name,
        generation=generation,
        is_stale=generation is not None and generation not in current,
        cause=cause,
        category=category,
        amount=amount,
        first_parked_at=first,
        last_parked_at=last,
        example=example,
        error=error,
    )
