"""The statements for tags: lock them, read by them, and check a decision again within an append.

A tag is a row of `tags`. An append of an event with the tag, or by a decision on the tag, locks that row. A call locks
all its tags in one order, then its streams, then it draws positions. So within a tag the order of positions is the
order of commits, and the last position that a reader has seen of a tag says how much of the tag it has seen.

An append by a decision takes two statements. LOCK locks the tags and raises the version of those that the new events
carry: a real update, which ends REPEATABLE READ and SERIALIZABLE callers with 40001. CHECK is a part of the append, and
its snapshot is newer than the locks. It finds a matching event above the position that the decision remembers for each
tag, or a remembered last event that is gone because of a rollback to a savepoint. Versions of tags are not compared:
they also rise for events that do not match, and a rollback to a savepoint lowers them.
"""

from eventkit.storage.db import quoted
from eventkit.storage.events.append_sql import MANY_LOCKS, NO_PARTS, ONE_LOCKS, AppendSql, SqlParts, many_sql, one_sql
from eventkit.storage.events.read import COLUMNS

# PostgreSQL plans `unnest(array)` anew for each array, but once for arrays from a select of their own, because it does
# not know their length. No plan depends on the length here.
LOCK = """insert into {s}.tags as t (tag, version)
select tag, raise from unnest((select %(tags)s::text[]), (select %(raises)s::int[])) k(tag, raise)
 order by tag collate "C"
on conflict (tag) do update set version = t.version + excluded.version where excluded.version > 0"""

_LOCKED = "k as (\n" + LOCK + "\nreturning tag), "
_AFTER_TAGS = "(select count(*) from k) z"  # all tags are locked before any stream: the count needs every row of `k`
_TAGGED = """, et as (
  insert into {s}.event_tags (tag, position)
  select g.tag, e.position from e join d on d.id = e.id
    join unnest(%(tag_ords)s::int[], %(tag_names)s::text[]) g(ord, tag) on g.ord = d.ord
)"""
_ONE_TAGGED = """, et as (
  insert into {s}.event_tags (tag, position) select g.tag, e.position from e, unnest((select %(tags)s::text[])) g(tag)
)"""

# `offset 0` keeps the planner from joining the other way round: from all events of a type to their tags.
_MATCHING = """cross join lateral (
    select position from {s}.event_tags x where x.tag = i.driver and x.position > i.above offset 0) a
  cross join lateral (
    select source || chr(10) || type as kind from {s}.events e where e.position = a.position offset 0) e
 where (i.types::text[] = '{{}}' or e.kind = any(i.types::text[]))
   and (cardinality(i.tags::text[]) = 1 or cardinality(i.tags::text[]) = (
     select count(*) from {s}.event_tags y where y.position = a.position and y.tag = any(i.tags::text[])))"""

_ITEMS = (
    "unnest(%(drivers)s::text[], %(above)s::bigint[], %(item_types)s::text[], %(item_tags)s::text[]) "
    "i(driver, above, types, tags)"
)
_NEWER = f"from {_ITEMS} " + _MATCHING
_CHECK = f"""hit as materialized (select exists (select {_NEWER})
  or exists (
    select from unnest(%(seen_tags)s::text[], %(seen_positions)s::bigint[], %(seen_ids)s::uuid[]) h(tag, position, id)
     where not exists (select from {{s}}.event_tags x join {{s}}.events e using (position)
                        where x.tag = h.tag and x.position = h.position and e.id = h.id)) as hit), """
_NO_ROW = "\nunion all select null, null, null{} from hit where hit.hit"

# The event that a conflict names: the first one that matches.
CAME = f"""select e.position, e.type, e.stream, e.version, e.id::text from {{s}}.events e where e.position = (
  select min(a.position) {_NEWER})"""

# The events of any item above the known position of its tags; and for each tag its version and its last event. All in
# one snapshot. An item is read by its rarest tag.
QUERY = f"""with item as materialized (
  select i.tags, i.types, d.driver, coalesce((
      select h.position from unnest(%(known_tags)s::text[], %(known_positions)s::bigint[]) h(tag, position)
       where h.tag = d.driver), 0) as above
    from unnest(%(item_tags)s::text[], %(item_types)s::text[]) i(tags, types) cross join lateral (
      select k.tag as driver from unnest(i.tags::text[]) k(tag) left join {{s}}.tags t on t.tag = k.tag
       order by coalesce(t.version, 0), k.tag limit 1) d
), matching as materialized (
  select distinct a.position from item i {_MATCHING}
)
select {COLUMNS} from matching m join {{s}}.events using (position)
union all
select 0::bigint, k.tag, null::text, null::int, last.id::text, null::text, last.position::text, null::smallint, null,
       coalesce(t.version, 0)::text, null
  from unnest(%(tags)s::text[]) k(tag) left join {{s}}.tags t on t.tag = k.tag left join lateral (
    select x.position, e.id from {{s}}.event_tags x join {{s}}.events e using (position)
     where x.tag = k.tag order by x.position desc limit 1) last on true
order by 1"""


class TagSql(AppendSql):
    """The statements for one PostgreSQL schema, built once.

    `tagged` and `decided` append with tags, and by a decision; each by kind of expectation. `tagged_one` and
    `decided_one` append a single event.
    """

    def __init__(self, schema: str, *, one: SqlParts = NO_PARTS, many: SqlParts = NO_PARTS) -> None:
        super().__init__(schema, one=one, many=many)
        s = quoted(schema)
        self.lock = LOCK.format(s=s)
        self.query = QUERY.format(s=s)
        self.came = CAME.format(s=s)
        one_tagged, one_decided = _with_tags(s, one, tagged=_ONE_TAGGED, more=one.columns.count(","))
        many_tagged, many_decided = _with_tags(s, many, tagged=_TAGGED, more=many.columns.count(","))
        self.tagged_one = tuple(one_sql(s, lock, one_tagged) for lock in ONE_LOCKS)
        self.decided_one = tuple(one_sql(s, lock, one_decided) for lock in ONE_LOCKS)
        self.tagged = tuple(many_sql(s, lock, many_tagged) for lock in MANY_LOCKS)
        self.decided = tuple(many_sql(s, lock, many_decided) for lock in MANY_LOCKS)


def _with_tags(s: str, parts: SqlParts, *, tagged: str, more: int) -> tuple[SqlParts, SqlParts]:
    """Return parts with tags, and with a decision too; the result has `more` columns than the first three."""
    then, no_row = tagged.format(s=s) + parts.then, _NO_ROW.format(", null" * more)
    by_decision = {"before": _CHECK.format(s=s), "source": "hit", "only": "not hit.hit", "end": no_row}
    return (
        parts._replace(before=_LOCKED.format(s=s), source=_AFTER_TAGS, then=then),
        parts._replace(**by_decision, then=then),
    )
