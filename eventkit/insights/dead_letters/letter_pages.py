"""Reads dead letters page by page, the newest first, and a single one with the events behind it.

One call looks at a limited number of letters. Letters of a group are found by its index, those of a stream by the key
of the stream, all others by their ids.
"""

from typing import Any, NamedTuple

from eventkit.insights.answers import DeadLetterInsight, Page
from eventkit.insights.dead_letters.letter_groups import generations, parked_by_names, split
from eventkit.insights.reader import InsightReader, Row, checked_limit, page_key, read_key

_WINDOW = 10_000  # letters that one call looks at
_GROUP_WINDOW = 1_001  # of a group; a page has at most a thousand
_MAX_ID = 2**63 - 1
_MOST_FULL = 8  # letters of a page with their data, each of which may have a megabyte

# The letters that a call looks at, along the key that serves the choice best.
_BY_ID = """select id, parked_by, stream, type, cause from {s}.dead_letters
   where id < %(before)s::bigint order by id desc limit {window}"""
# Each `parked_by` by the index of the groups, then the newest of all. The limits are constants, and small: with a large
# one the planner would read and sort the whole group.
_BY_GROUP = """select x.* from unnest(%(parked_by)s::text[]) p(by) cross join lateral (
    select id, parked_by, stream, type, cause from {s}.dead_letters where parked_by = p.by and cause = %(cause)s::text
       and split_part(stream, '-', 1) = %(category)s::text and id < %(before)s::bigint
     order by id desc limit {window}) x
   order by id desc limit {window}"""
_BY_STREAM = """select id, parked_by, stream, type, cause from {s}.dead_letters
   where parked_by = any(%(parked_by)s::text[]) and stream = %(stream)s::text and id < %(before)s::bigint
   order by id desc limit {window}"""
# `looked` is one of the selects above, with `window` as its limit. It is read as far as the page needs, and counted
# only where the page is not full. The last row says where the look ended.
_PAGE = """with looked as materialized ({looked}), found as materialized (
  select id from looked
   where parked_by = any(%(parked_by)s::text[])
     and (%(cause)s::text is null or cause = %(cause)s::text)
     and (%(category)s::text is null or split_part(stream, '-', 1) = %(category)s::text)
     and (%(stream)s::text is null or stream = %(stream)s::text)
     and (%(type)s::text is null or type = %(type)s::text)
   order by id desc limit %(limit)s::int
)
select d.id, d.parked_by, d.stream, d.version, d.position, d.event_id::text, d.type, d.cause, d.error,
  d.attempts, d.parked_at,
  (select r.asked_by from {s}.redrives r where r.parked_by = d.parked_by and r.stream = d.stream),
  case when %(payload)s::bool then d.detail end, case when %(payload)s::bool then d.event end,
  case when %(payload)s::bool then coalesce(d.data, convert_to(
    (select coalesce(a.data, e.data)::text from {s}.events e left join {s}.amendments a using (position)
      where e.position = d.position), 'UTF8')) end, true
  from found f cross join lateral (select * from {s}.dead_letters where id = f.id offset 0) d
union all
(select id, null, null, null, null, null, null, null, null, null, null, null, null, null, null, false from looked
  where case when (select count(*) from found) = %(limit)s::int then false
             else (select count(*) from looked) >= {window} end order by id limit 1)
order by 1 desc"""
_ONE = """select d.id, d.parked_by, d.stream, d.version, d.position, d.event_id::text, d.type, d.cause, d.error,
  d.attempts, d.parked_at,
  (select r.asked_by from {s}.redrives r where r.parked_by = d.parked_by and r.stream = d.stream),
  case when %(payload)s::bool then d.detail end, case when %(payload)s::bool then d.event end,
  case when %(payload)s::bool then coalesce(d.data, convert_to(
    (select coalesce(a.data, e.data)::text from {s}.events e left join {s}.amendments a using (position)
      where e.position = d.position), 'UTF8')) end
  from {s}.dead_letters d where d.id = %(id)s"""
_BEHIND = """select from {s}.dead_letters
 where parked_by = %(by)s and stream = %(stream)s and version > %(version)s"""
_BEHIND_AT_RELAY = "select from {s}.events where stream = %(stream)s and version > %(version)s"


class LetterChoice(NamedTuple):
    """Selects letters that match all given fields."""

    parked_by: str | None = None
    cause: str | None = None
    category: str | None = None
    stream: str | None = None
    type: str | None = None


def page(
    reader: InsightReader, wanted: LetterChoice, *, after: str | None, limit: int, payload: bool
) -> Page[DeadLetterInsight]:
    """Return a page of the letters that match, the newest first; with their data, eight at most."""
    limit = min(checked_limit(limit), _MOST_FULL) if payload else limit
    (before,) = read_key(after, int) or (_MAX_ID,)
    names = parked_by_names(reader, wanted.parked_by)
    params: dict[str, Any] = {
        **wanted._asdict(),
        "parked_by": names,
        "before": before,
        "payload": payload,
    }
    looked, window = _BY_ID, _WINDOW
    if wanted.stream is not None:
        looked = _BY_STREAM
    elif wanted.cause is not None and wanted.category is not None:
        looked, window = _BY_GROUP, min(_WINDOW, _GROUP_WINDOW)
    params["limit"] = checked_limit(limit) + 1
    rows = reader.rows(_PAGE, params, window=str(window), looked=looked)
    found = [row for row in rows if row[-1]]
    current = generations(reader)
    items = tuple(_letter(row[:-1], current) for row in found[:limit])
    if len(found) > limit:
        return Page(items=items, next=page_key(found[limit - 1][0]))
    ends = [row[0] for row in rows if not row[-1]]
    return Page(items=items, next=page_key(ends[0]) if ends else None)


def letter(reader: InsightReader, letter_id: int, *, payload: bool, exact: bool) -> DeadLetterInsight | None:
    """Return a letter with the number of events behind it; None where there is none with this id."""
    rows = reader.rows(_ONE, {"id": letter_id, "payload": payload})
    if not rows:
        return None
    _, by, stream, version, *_ = rows[0]
    behind = _BEHIND_AT_RELAY if by == "relay" else _BEHIND
    params = {"by": by, "stream": stream, "version": version}
    amount = reader.amount(behind, {name: params[name] for name in params if f"%({name})s" in behind}, exact=exact)
    return _letter(rows[0], generations(reader), behind=amount)


def _letter(row: Row, current: set[int], **more: Any) -> DeadLetterInsight:  # noqa: ANN401 fields of a letter
    names = ("id", "stream", "version", "position", "event_id", "type", "cause", "error", "attempts", "parked_at")
    letter_id, by, *rest = row
    *rest, asked_by, detail, headers, data = rest
    parked_by, generation = split(by)
    return DeadLetterInsight(
        **dict(zip(names, (letter_id, *rest), strict=True)),
        parked_by=parked_by,
        generation=generation,
        is_stale=generation is not None and generation not in current,
        category=rest[0].partition("-")[0],
        asked_by=asked_by,
        detail=detail,
        headers=headers,
        data=None if data is None else bytes(data).decode(errors="backslashreplace"),
        **more,
    )
