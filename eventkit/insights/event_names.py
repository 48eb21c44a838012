"""Reads the names of event types and categories that a store has, by steps from name to name along an index."""

from eventkit.insights.reader import InsightReader

_MOST = 100  # names

_TYPES = f"""with recursive n(source, type) as (
  (select source, type from {{s}}.events order by source, type limit 1)
  union all
  select e.source, e.type from n cross join lateral (
    select source, type from {{s}}.events where (source, type) > (n.source, n.type) order by source, type limit 1) e
) select distinct type from (select type from n limit {_MOST}) t order by type"""
_CATEGORIES = f"""with recursive n(category) as (
  (select split_part(stream, '-', 1) from {{s}}.streams order by stream limit 1)
  union all
  select split_part(e.stream, '-', 1) from n cross join lateral (
    select stream from {{s}}.streams where stream >= n.category || '.' order by stream limit 1) e
) select category from n limit {_MOST}"""


def types(reader: InsightReader) -> list[str]:
    """Return the types of the stored events, in order; a hundred at most."""
    return [name for (name,) in reader.rows(_TYPES)]


def categories(reader: InsightReader) -> list[str]:
    """Return the categories of the streams, in order; a hundred at most."""
    return [name for (name,) in reader.rows(_CATEGORIES)]
