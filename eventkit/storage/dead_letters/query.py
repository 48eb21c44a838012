"""Lists dead letters for operators, of projections and of the relay in one form, by filter.

A letter of the relay has no message: its event is in the outbox, and its data is read from the store, with amendments.
A letter is *stale* when its generation is neither live nor being built: a rebuild has replaced it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.errors import DeadLetterError
from eventkit.storage.db import database_errors, in_schema

RELAY = "relay"
_LETTERS, _ACTIONS = "dead_letters", "dead_letter_actions"

# A filter may give any of its fields. A statement has the conditions of the given fields alone, each an equality where
# it can be, so that an index serves it: with all conditions, its plan would have to serve every choice.
_OF_LETTERS = {
    "ids": "d.id = any(%(ids)s::bigint[])",
    "event_ids": "d.event_id = any(%(event_ids)s::uuid[])",
    "stream": "d.stream = %(stream)s::text",
    "category": "split_part(d.stream, '-', 1) = %(category)s::text",
    "type": "d.type = %(type)s::text",
    "cause": "d.cause = %(cause)s::text",
    "older_than": "d.parked_at < clock_timestamp() - %(older_than)s::interval",
    "newer_than": "d.parked_at > clock_timestamp() - %(newer_than)s::interval",
}
_OF_ACTIONS = {
    **_OF_LETTERS,
    "ids": "d.letter = any(%(ids)s::bigint[])",
    "older_than": "d.at < clock_timestamp() - %(older_than)s::interval",
    "newer_than": "d.at > clock_timestamp() - %(newer_than)s::interval",
}
_CONDITIONS = {_LETTERS: _OF_LETTERS, _ACTIONS: _OF_ACTIONS}
_BY = "d.parked_by = any(%(parked_by)s::text[])"

_FEW = 8  # letters in memory at once with their data, each of which may have a megabyte
PAGE = 10_000  # letters in memory at once; a count goes no further

# By the unique key (parked_by, stream, version, event_id), whose first columns order the letters.
_CHOOSE = """select id, parked_by, stream, version from {s}.dead_letters d
 where {where} order by parked_by, stream, version, id limit %(limit)s"""
_AFTER = """(parked_by, stream, version, id)
        > (%(after_by)s::text, %(after_stream)s::text, %(after_version)s::int, %(after_id)s::bigint)"""
_UP_TO = "d.id <= %(highest)s"
_OLDER = "d.id < %(before)s::bigint"
_HIGHEST = "select coalesce(max(id), 0) from {s}.dead_letters"
_COUNT = f"""select count(*) from (
  select from {{s}}.dead_letters d where {{where}} limit {PAGE} + 1) counted"""
# Each `parked_by` of a table's letters, by its index: one step for each, however many letters it has.
_HOLDERS = """with recursive p(by) as (
  (select parked_by from {s}.{table} order by parked_by limit 1)
  union all
  select (select d.parked_by from {s}.{table} d where d.parked_by > p.by order by d.parked_by limit 1)
    from p where by is not null
) select by from p where by is not null and (by = %(by)s or split_part(by, ':', 2) = %(by)s)"""
# A redrive retries all letters of a stream, from the first on. It can retry the relay's letters, and those of a live
# generation, that have a place in a stream.
_WHOLE = f"""select id, parked_by, stream from {{s}}.dead_letters d
 where (parked_by, stream) in (select parked_by, stream from {{s}}.dead_letters where id = any(%(ids)s))
   and version > 0 and (parked_by = '{RELAY}' or split_part(parked_by, ':', 3) in (
     select generation::text from {{s}}.projections))
 order by parked_by, stream, version, id limit {PAGE}"""
_REDRIVABLE = f"""select count(*) from {{s}}.dead_letters where id = any(%(ids)s)
   and version > 0 and (parked_by = '{RELAY}' or split_part(parked_by, ':', 3) in (
     select generation::text from {{s}}.projections))"""
_ASKED = """select count(*) from {s}.redrives
 where (parked_by, stream) in (select * from unnest(%(parked_by)s::text[], %(streams)s::text[]))"""
_LIST = """select d.id, d.parked_by, d.stream, d.version, d.position, d.event_id, d.type, d.cause, d.error, d.attempts,
       d.parked_at, d.event, case when %(payload)s then coalesce(d.data, convert_to(sent.data, 'UTF8')) end,
       case when %(payload)s then d.detail end,
       d.parked_by like 'projection:%%' and split_part(d.parked_by, ':', 3) not in (
         select generation::text from {s}.projections union all select generation::text from {s}.rebuilds),
       r.asked_by
  from {s}.dead_letters d
  left join {s}.redrives r on r.parked_by = d.parked_by and r.stream = d.stream
  left join lateral (select coalesce(a.data, e.data)::text as data from {s}.events e
     left join {s}.amendments a on a.position = e.position where e.position = d.position) sent on true
 where {where} order by d.parked_by, d.stream, d.version, d.id limit %(limit)s"""
_LOG = """select id, at, actor, action, result, letter, parked_by, stream, version, event_id, type, cause, error,
       attempts, parked_at, case when %(payload)s then detail end, case when %(payload)s then data end,
       case when %(payload)s then new_data end
  from {s}.dead_letter_actions d
 where {where} order by d.id desc limit %(limit)s"""


_IS_PROJECTION = "select from {s}.projections where name = %(by)s"
_NAMES = "select name from {s}.projections order by name limit 20"


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects letters that match all given fields; all letters without one. `by` is `relay` or a projection's name."""

    ids: Sequence[int] | None = None
    event_ids: Sequence[UUID] | None = None
    by: str | None = None
    stream: str | None = None
    category: str | None = None
    type: str | None = None
    cause: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None


class Filed(msgspec.Struct, frozen=True):
    """A dead letter; `data` and the error's `detail` only with `payload=True`."""

    id: int
    parked_by: str
    stream: str
    version: int
    position: int | None
    event_id: UUID
    type: str
    cause: str
    error: str
    attempts: int
    parked_at: datetime
    event: dict[str, Any] | None
    data: bytes | None
    detail: str | None
    stale: bool
    asked_by: str | None  # the actor of a redrive request that is not served yet


class Action(msgspec.Struct, frozen=True):
    """A recorded action on a letter, and the letter as it was; detail and data only with `payload=True`."""

    id: int
    at: datetime
    actor: str
    action: str
    result: str
    letter: int
    parked_by: str
    stream: str
    version: int
    event_id: UUID
    type: str
    cause: str
    error: str
    attempts: int
    parked_at: datetime
    detail: str | None
    data: bytes | None
    new_data: bytes | None


Actions = list[Action]  # LetterQuery has a method `list`


class Choice(msgspec.Struct, frozen=True):
    """The letters that a filter has found, by stream, for one action."""

    streams: dict[tuple[str, str], list[int]]  # (parked_by, stream) -> ids, in order of version
    more: bool = False  # there are more than a page

    @property
    def ids(self) -> list[int]:
        """The ids of all letters."""
        return [letter for ids in self.streams.values() for letter in ids]

    def of_relay(self, *, yes: bool) -> "Choice":
        """Return the relay's letters, or the projections'."""
        return Choice({key: ids for key, ids in self.streams.items() if (key[0] == RELAY) is yes})


class LetterQuery:
    """The letters of one schema, over an autocommit connection; read only."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def check(self, wanted: LetterFilter) -> None:
        """Raise DeadLetterError where `by` is neither the relay nor a projection, and has parked no stream before."""
        by = wanted.by
        if by is None or by == RELAY or self._rows(_IS_PROJECTION, {"by": by}):
            return
        if not self._holders(_LETTERS, by) and not self._holders(_ACTIONS, by):
            names = ", ".join(["relay", *(name for (name,) in self._rows(_NAMES, {}))])
            raise DeadLetterError(f"nobody named {by!r} parks streams in this database: there are {names}")

    def choose(self, wanted: LetterFilter) -> Choice:
        """Return the first page of the letters that match."""
        return next(self.pages(wanted))

    def highest(self) -> int:
        """Return the number of the newest letter; 0 where there is none."""
        return int(self._rows(_HIGHEST, {})[0][0])

    def pages(self, wanted: LetterFilter, *, highest: int | None = None) -> Iterator[Choice]:
        """Yield the letters that match, page by page, without later ones than `highest`; one page at least.

        Without `highest` they are those of this moment. The letters of a page may be removed before the next page is
        read.
        """
        params = {"highest": self.highest() if highest is None else highest, "limit": PAGE}
        conditions = [_UP_TO]
        while True:
            rows = self._rows(_CHOOSE, *self._of_letters(wanted, *conditions, **params))
            yield _by_stream([row[:3] for row in rows], more=len(rows) == PAGE)
            if len(rows) < PAGE:
                return
            conditions = [_UP_TO, _AFTER]
            params |= dict(zip(("after_id", "after_by", "after_stream", "after_version"), rows[-1], strict=True))

    def count(self, wanted: LetterFilter) -> tuple[int, bool]:
        """Return the number of letters that match, at most a page, and whether there are more."""
        found = int(self._rows(_COUNT, *self._of_letters(wanted))[0][0])
        return min(found, PAGE), found > PAGE

    def whole_streams(self, choice: Choice) -> Choice:
        """Return a page of all letters of the chosen streams, without those that no redrive can retry."""
        rows = self._rows(_WHOLE, {"ids": choice.ids})
        return _by_stream(rows, more=choice.more or len(rows) == PAGE)

    def redrivable(self, choice: Choice) -> int:
        """Return how many of the chosen letters a redrive can retry: not those without a place or a live generation."""
        return int(self._rows(_REDRIVABLE, {"ids": choice.ids})[0][0])

    def asked(self, choice: Choice) -> int:
        """Return the number of the chosen streams with a redrive request that no projector has served yet."""
        parked_by, streams = zip(*choice.streams, strict=True) if choice.streams else ((), ())
        return int(self._rows(_ASKED, {"parked_by": list(parked_by), "streams": list(streams)})[0][0])

    def list(self, wanted: LetterFilter, *, limit: int | None = None, payload: bool = False) -> list[Filed]:
        """Return letters in order of `parked_by`, stream and version."""
        statement = self._of_letters(wanted, limit=limit, payload=payload)
        return [Filed(*row) for row in self._rows(_LIST, *statement)]

    def in_full(self, letters: Sequence[Filed]) -> Iterator[Filed]:
        """Yield letters with their data and details, a few in memory at a time; without those that are gone by now."""
        for first in range(0, len(letters), _FEW):
            yield from self.list(LetterFilter(ids=[one.id for one in letters[first : first + _FEW]]), payload=True)

    def log(
        self, wanted: LetterFilter, *, limit: int | None = None, payload: bool = False, before: int | None = None
    ) -> Actions:
        """Return recorded actions, the newest first, `before` an action's id; the filter's `ids` are ids of letters."""
        params, where = self._chosen(wanted, _ACTIONS, () if before is None else (_OLDER,))
        params |= {"limit": limit, "payload": payload, "before": before}
        return [Action(*row) for row in self._rows(_LOG, params, where)]

    def log_in_full(self, wanted: LetterFilter, *, limit: int) -> Iterator[Action]:
        """Yield recorded actions with their data, the newest first, a few in memory at a time."""
        before: int | None = None
        while limit > 0 and (few := self.log(wanted, limit=min(limit, _FEW), payload=True, before=before)):
            yield from few
            limit, before = limit - len(few), few[-1].id

    def _of_letters(self, wanted: LetterFilter, *conditions: str, **more: object) -> tuple[dict[str, object], str]:
        """Return the parameters and the condition for the letters that match."""
        params, where = self._chosen(wanted, _LETTERS, conditions)
        return params | more, where

    def _chosen(self, wanted: LetterFilter, table: str, conditions: Iterable[str]) -> tuple[dict[str, object], str]:
        """Return the parameters of a filter, and its condition joined with further `conditions`."""
        params = msgspec.structs.asdict(wanted)
        found = [text for name, text in _CONDITIONS[table].items() if params[name] is not None]
        if wanted.by is not None:
            params["parked_by"] = self._holders(table, wanted.by)
            found.append(_BY)
        return params, " and ".join([*found, *conditions]) or "true"

    def _holders(self, table: str, by: str) -> Sequence[str]:
        """Return each `parked_by` of a table that belongs to the relay or to a projection's name."""
        return [holder for (holder,) in self._rows(_HOLDERS, {"by": by}, table=table)]

    def _rows(
        self, statement: str, params: Mapping[str, object], where: str = "true", table: str = ""
    ) -> Sequence[tuple[Any, ...]]:
        text = in_schema(statement, self._schema, where=where, table=table)
        with database_errors():
            return self._connection.execute(text, params, binary=True).fetchall()  # by no DateStyle


def _by_stream(rows: Iterable[tuple[Any, ...]], *, more: bool) -> Choice:
    streams: dict[tuple[str, str], list[int]] = {}
    for letter, parked_by, stream in rows:
        streams.setdefault((parked_by, stream), []).append(letter)
    return Choice(streams, more)
