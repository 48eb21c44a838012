"""Writes letters, also where PostgreSQL refuses the values of one of them.

Some 4 MB of letters are written in one statement; where PostgreSQL refuses that, in halves. A single refused message
that parks no stream is logged and dropped. A refusal undoes no other change of the transaction. Called by
`eventkit.storage.dead_letters.letters`, which makes the rows.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.storage.db import bytes_array, in_schema

logger = logging.getLogger("eventkit.storage")

# Errors caused by a letter's values: the values, the constraints on them, and PostgreSQL's limits.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)

_MAX_BYTES = 4_000_000  # of one statement, whose parameters take several times that
_MAX_TRIES = 5  # another process may take the same numbers at the same time

# A letter that failed again, or that waited and now fails itself, gets the new reason; others stay unchanged. In order,
# so two processes that keep the same letters wait for each other.
_KEEP = """
insert into {s}.dead_letters as d
       (parked_by, stream, version, event_id, type, cause, error, detail, attempts, event, data)
select %(parked_by)s, stream, version, event_id, type, cause, error, nullif(detail, ''), attempts, event, data
  from unnest(%(streams)s::text[], %(versions)s::int[], %(event_ids)s::uuid[], %(types)s::text[], %(causes)s::text[],
              %(errors)s::text[], %(details)s::text[], %(attempts)s::int[], %(events)s::jsonb[], %(data)s::bytea[])
       x(stream, version, event_id, type, cause, error, detail, attempts, event, data)
 order by stream collate "C", version, event_id
on conflict (parked_by, stream, version, event_id) do update
   set cause = excluded.cause, error = excluded.error, detail = excluded.detail,
       attempts = d.attempts + excluded.attempts
 where excluded.cause <> 'behind'
returning xmax = 0
"""
# The same with numbers above the table's, where the identity is behind the table.
_KEEP_NUMBERED = """
insert into {s}.dead_letters as d
       (id, parked_by, stream, version, event_id, type, cause, error, detail, attempts, event, data)
       overriding system value
select (select coalesce(max(id), 0) from {s}.dead_letters) + row_number() over (), %(parked_by)s,
       stream, version, event_id, type, cause, error, nullif(detail, ''), attempts, event, data
  from unnest(%(streams)s::text[], %(versions)s::int[], %(event_ids)s::uuid[], %(types)s::text[], %(causes)s::text[],
              %(errors)s::text[], %(details)s::text[], %(attempts)s::int[], %(events)s::jsonb[], %(data)s::bytea[])
       x(stream, version, event_id, type, cause, error, detail, attempts, event, data)
 order by stream collate "C", version, event_id
on conflict (parked_by, stream, version, event_id) do update
   set cause = excluded.cause, error = excluded.error, detail = excluded.detail,
       attempts = d.attempts + excluded.attempts
 where excluded.cause <> 'behind'
returning xmax = 0
"""


class LetterRow(msgspec.Struct, frozen=True):
    """A letter as a row."""

    stream: str
    version: int
    event_id: UUID
    type: str
    cause: str
    error: str
    detail: str | None
    attempts: int
    event: str  # JSON
    data: bytes


def keep_rows(connection: psycopg.Connection[Any], schema: str, parked_by: str, rows: Sequence[LetterRow]) -> int:
    """Write letters in the open transaction, some 4 MB a statement; return the number of new ones."""
    writer = _LetterWriter(connection, schema, parked_by)
    return sum(writer.keep(part) for part in _parts(_each_once(rows)))


def _parts(rows: list[LetterRow]) -> Iterator[list[LetterRow]]:
    """Yield rows in the order in which they are written, some 4 MB at a time."""
    if sum(len(row.data) for row in rows) <= _MAX_BYTES:
        yield rows
        return
    part: list[LetterRow] = []
    size = 0
    for row in sorted(rows, key=lambda row: (row.stream.encode(), row.version, row.event_id)):
        part.append(row)
        size += len(row.data)
        if size > _MAX_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _each_once(rows: Iterable[LetterRow]) -> list[LetterRow]:
    """Drop duplicates, because one statement changes no row twice; keep the one that failed itself."""
    found: dict[tuple[str, int, UUID], LetterRow] = {}
    for row in rows:
        place = row.stream, row.version, row.event_id
        if place not in found or found[place].cause == "behind":
            found[place] = row
    return list(found.values())


class _LetterWriter:
    def __init__(self, connection: psycopg.Connection[Any], schema: str, parked_by: str) -> None:
        self._connection = connection
        self._schema = schema
        self._parked_by = parked_by

    def keep(self, rows: Sequence[LetterRow]) -> int:
        """Write all letters; return the number of new ones."""
        try:
            return self._written(rows)
        except REFUSALS as error:
            refusal = error
        if len(rows) > 1:
            middle = len(rows) // 2
            return self.keep(rows[:middle]) + self.keep(rows[middle:])
        if rows[0].version:
            raise refusal  # without its letter, the stream would not be parked
        reason = refusal.sqlstate or type(refusal).__name__
        logger.error(
            "a message that is no event is lost, because PostgreSQL refuses its letter (%s): key %.60r",
            reason,
            rows[0].stream,
        )
        return 0

    def _written(self, rows: Sequence[LetterRow]) -> int:
        """Write rows with numbers of the identity or, where these exist, with numbers above the table's."""
        statement = _KEEP
        for _ in range(_MAX_TRIES):
            try:
                return self._insert(rows, statement)
            except psycopg.errors.UniqueViolation as error:  # only of `id`: other conflicts are updates
                taken, statement = error, _KEEP_NUMBERED
                logger.warning("the identity of dead_letters is behind its table: run `eventkit db verify`")
        raise taken

    def _insert(self, rows: Sequence[LetterRow], statement: str) -> int:
        params = {
            "parked_by": self._parked_by,
            "streams": [row.stream for row in rows],
            "versions": [row.version for row in rows],
            "event_ids": [row.event_id for row in rows],
            "types": [row.type for row in rows],
            "causes": [row.cause for row in rows],
            "errors": [row.error for row in rows],
            "details": [row.detail or "" for row in rows],
            "attempts": [row.attempts for row in rows],
            "events": [row.event for row in rows],
            "data": bytes_array(row.data for row in rows),
        }
        self._connection.execute("savepoint letters")
        try:
            kept: int = sum(new for (new,) in self._connection.execute(in_schema(statement, self._schema), params))
        except REFUSALS:
            self._connection.execute("rollback to savepoint letters")
            raise
        self._connection.execute("release savepoint letters")
        return kept
