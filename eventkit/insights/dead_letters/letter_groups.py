"""Reads dead letters in groups of projection, cause and category, by a loose scan over one index.

The index is on (parked_by, cause, category, id), so a group costs a few look-ups. A small table is counted as a whole.
In a large one, a random sample of its pages estimates all groups; rare groups are counted by the index, up to a limit.
"""

from collections.abc import Mapping, Sequence

from eventkit.insights.answers import Amount, DeadLetterGroup
from eventkit.insights.reader import InsightReader, Row, checked_limit

Key = tuple[str, str, str]  # parked_by, cause, category

_MOST = 300  # letters of a rare group that are counted
_FEW_IN_SAMPLE = 5  # letters; a group with fewer is rare
_PAGES = 256  # of a table that is counted as a whole, and of a sample

_GROUPS = """with recursive g(by, cause, category) as (
  (select parked_by, cause, split_part(stream, '-', 1) from {s}.dead_letters order by 1, 2, 3 limit 1)
  union all
  select n.* from g cross join lateral (
    select parked_by, cause, split_part(stream, '-', 1) from {s}.dead_letters
     where (parked_by, cause, split_part(stream, '-', 1)) > (g.by, g.cause, g.category) order by 1, 2, 3 limit 1) n
)
select g.by, g.cause, g.category, first.parked_at, last.parked_at, last.id, last.error
  from (select * from g limit %(limit)s) g
  cross join lateral (select parked_at from {s}.dead_letters d where d.parked_by = g.by and d.cause = g.cause
           and split_part(stream, '-', 1) = g.category order by id limit 1) first
  cross join lateral (select id, parked_at, error from {s}.dead_letters d where d.parked_by = g.by
           and d.cause = g.cause and split_part(stream, '-', 1) = g.category order by id desc limit 1) last"""
_SIZE = "select pg_relation_size(%(table)s::regclass) / current_setting('block_size')::int"
_COUNT = """select parked_by, cause, split_part(stream, '-', 1), count(*)
  from {s}.dead_letters group by 1, 2, 3"""
_COUNT_SAMPLE = """select parked_by, cause, split_part(stream, '-', 1), count(*)
  from {s}.dead_letters tablesample system (%(percent)s) group by 1, 2, 3"""
# The order leads the planner to the index of the groups.
_COUNT_RARE = f"""select by, wanted.cause, category, (
    select count(*) from (select id from {{s}}.dead_letters d where d.parked_by = by and d.cause = wanted.cause
       and split_part(stream, '-', 1) = category order by id limit {_MOST + 1}) counted)
  from unnest(%(by)s::text[], %(causes)s::text[], %(categories)s::text[]) wanted(by, cause, category)"""
_GENERATIONS = """select generation from {s}.projections union all select generation from {s}.rebuilds"""
_PARKED_BY = """with recursive p(by) as (
  (select parked_by from {s}.dead_letters order by parked_by limit 1)
  union all
  select (select d.parked_by from {s}.dead_letters d where d.parked_by > p.by order by d.parked_by limit 1)
    from p where by is not null
) select by from p where by is not null"""


def groups(reader: InsightReader, *, limit: int, exact: bool = False) -> list[DeadLetterGroup]:
    """Return the groups, the largest first."""
    rows = reader.rows(_GROUPS, {"limit": checked_limit(limit)})
    current = generations(reader)
    amounts = _amounts(reader, [_key(row) for row in rows], exact=exact)
    found = [_group(row, current, amounts[_key(row)]) for row in rows]
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


def _key(row: Row) -> Key:
    return row[0], row[1], row[2]


def _amounts(reader: InsightReader, keys: Sequence[Key], *, exact: bool) -> dict[Key, Amount]:
    """Return the number of letters of each group."""
    (pages,) = reader.row(_SIZE, {"table": reader.table("dead_letters")})
    if exact or pages <= _PAGES:
        counts = {_key(row): row[3] for row in reader.rows(_COUNT)}
        return {key: Amount(value=counts.get(key, 0), is_exact=True) for key in keys}
    percent = 100.0 * _PAGES / pages
    sampled = reader.rows(_COUNT_SAMPLE, {"percent": percent})
    often = {_key(row): row[3] for row in sampled if row[3] >= _FEW_IN_SAMPLE}
    rare = _counted(reader, [key for key in keys if key not in often])
    return {key: rare.get(key) or Amount(value=round(often[key] * 100 / percent), is_exact=False) for key in keys}


def _counted(reader: InsightReader, keys: Sequence[Key]) -> Mapping[Key, Amount]:
    by, causes, categories = zip(*keys, strict=True) if keys else ((), (), ())
    rows = reader.rows(_COUNT_RARE, {"by": list(by), "causes": list(causes), "categories": list(categories)})
    return {_key(row): Amount(value=min(row[3], _MOST), is_exact=row[3] <= _MOST) for row in rows}


def _group(row: Row, current: set[int], amount: Amount) -> DeadLetterGroup:
    by, cause, category, first, last, example, error = row
    name, generation = split(by)
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
