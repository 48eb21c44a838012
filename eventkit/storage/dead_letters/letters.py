"""Keeps events that could not be applied, and those that wait behind them, under the stream's checkpoint lock.

A letter has the message as it was received (its headers in `event`, its bytes in `data`), so a redrive decodes it with
its own code. Keeping a letter is idempotent: a redelivery finds it. A malformed message has version 0: it has no place
in a stream, and parks none.

Some 4 MB of letters are written in one statement; where PostgreSQL refuses that, in halves. A single refused message
that parks no stream is logged and dropped. A refusal undoes no other change of the transaction.

`redrive` has the letters of applied events removed, `actions` has the operators' actions. The relay parks by positions
alone (`eventkit.storage.outbox.parking`). Called by `eventkit.projection`.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.domain.message import Message
from eventkit.storage.db import bytes_array, file_name, in_schema, plain_text

logger = logging.getLogger("eventkit.storage")

MAX_BYTES = 8_000_000  # of the letters of one load; a single letter may exceed it
_MAX_TYPE = 200  # characters; the headers have the whole type

# The running sum bounds the bytes before any large value is fetched.
_LOAD = f"""select id, version, cause, event, data from (
  select *, sum(bytes) over (order by version, id rows unbounded preceding) as running from (
    select *, coalesce(octet_length(data), 0) as bytes from {{s}}.dead_letters
     where parked_by = %s and stream = %s and version > 0 order by version, id limit %s) d) page
 where running - bytes < {MAX_BYTES} order by version, id"""
_CAUSES = "select distinct cause from {s}.dead_letters where parked_by = %s and stream = %s and version > 0"
_REACH = """select stream, max(version) from {s}.dead_letters
             where parked_by = %s and stream = any(%s) and version > 0 group by stream"""
# A partial index has the streams with a gap. Another cause is searched for around 'behind' and 'gap', which may have
# very many letters.
_HELD = """select distinct d.stream from {s}.dead_letters d
 where d.parked_by = %(parked_by)s and d.cause = 'gap' and d.stream > %(after)s and not exists (
   select from {s}.dead_letters o
    where o.parked_by = d.parked_by and o.stream = d.stream and (o.cause < 'behind'
       or o.cause > 'behind' and o.cause < 'gap' or o.cause > 'gap'))
 order by d.stream limit %(limit)s"""

# Errors caused by a letter's values: the values, the constraints on them, and PostgreSQL's limits.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)

_MAX_STATEMENT = 4_000_000  # bytes of one statement, whose parameters take several times that
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


class Letter(msgspec.Struct):
    """An event to keep; `cause` is one of `CAUSES` (`eventkit.errors`)."""

    version: int
    event_id: UUID
    type: str
    cause: str
    error: str
    attempts: int
    message: Message
    detail: str | None = None  # the text of an error, which may quote the event


class Kept(msgspec.Struct):
    """A stored letter."""

    id: int
    version: int
    cause: str
    message: Message


class DeadLetters:
    """The letters of one schema, for projectors."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def keep(self, connection: psycopg.Connection[Any], parked_by: str, stream: str, letters: Sequence[Letter]) -> int:
        """Keep letters of one stream; return the number of new ones."""
        return self.keep_all(connection, parked_by, [(stream, letter) for letter in letters])

    def keep_all(
        self, connection: psycopg.Connection[Any], parked_by: str, letters: Sequence[tuple[str, Letter]]
    ) -> int:
        """Keep letters of several streams; return the number of new ones."""
        rows = [row_of(stream, letter) for stream, letter in letters]
        return keep_rows(connection, self._schema, parked_by, rows)

    def load(self, connection: psycopg.Connection[Any], parked_by: str, stream: str, *, limit: int) -> list[Kept]:
        """Return a stream's letters in order of version, at most `limit` of them and MAX_BYTES."""
        rows = connection.execute(self._sql(_LOAD), (parked_by, stream, limit))
        return [Kept(letter, version, cause, _message(event, data)) for letter, version, cause, event, data in rows]

    def causes(self, connection: psycopg.Connection[Any], parked_by: str, stream: str) -> set[str]:
        """Return the causes of a stream's letters; an empty set when it has none."""
        return {cause for (cause,) in connection.execute(self._sql(_CAUSES), (parked_by, stream))}

    def reach(self, connection: psycopg.Connection[Any], parked_by: str, streams: Sequence[str]) -> dict[str, int]:
        """Return the highest version with a letter, for each of these streams that has letters."""
        return dict(connection.execute(self._sql(_REACH), (parked_by, list(streams))).fetchall())

    def held(
        self, connection: psycopg.Connection[Any], parked_by: str, *, after: str = "", limit: int = 1_000
    ) -> list[str]:
        """Return the next streams, in order, that only wait for missing events."""
        params = {"parked_by": parked_by, "after": after, "limit": limit}
        return [stream for (stream,) in connection.execute(self._sql(_HELD), params)]

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)


def _message(event: dict[str, Any], data: bytes) -> Message:
    return Message(event["topic"], event["key"], bytes(data), list(event["headers"].items()))


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


def row_of(stream: str, letter: Letter) -> LetterRow:
    """Return a letter as a row: with values that PostgreSQL accepts, and a name that fits into its index."""
    message = letter.message
    given: Sequence[tuple[str, str | bytes | None]] = message.headers
    headers = {
        plain_text(name): plain_text(value if isinstance(value, str) else value.decode(errors="backslashreplace"))
        for name, value in given
        if value is not None
    }
    event = {"topic": plain_text(message.topic), "key": plain_text(message.key), "headers": headers}
    return LetterRow(
        stream=file_name(stream),
        version=letter.version,
        event_id=letter.event_id,
        type=plain_text(letter.type)[:_MAX_TYPE],
        cause=letter.cause,
        error=plain_text(letter.error),
        detail=None if letter.detail is None else plain_text(letter.detail),
        attempts=letter.attempts,
        event=json.dumps(event),
        data=message.value if isinstance(message.value, bytes) else message.value.encode(errors="surrogatepass"),
    )


def keep_rows(connection: psycopg.Connection[Any], schema: str, parked_by: str, rows: Sequence[LetterRow]) -> int:
    """Write letters in the open transaction, some 4 MB a statement; return the number of new ones."""
    writer = _LetterWriter(connection, schema, parked_by)
    return sum(writer.keep(part) for part in _parts(_each_once(rows)))


def _parts(rows: list[LetterRow]) -> Iterator[list[LetterRow]]:
    """Yield rows in the order in which they are written, some 4 MB at a time."""
    if sum(len(row.data) for row in rows) <= _MAX_STATEMENT:
        yield rows
        return
    part: list[LetterRow] = []
    size = 0
    for row in sorted(rows, key=lambda row: (row.stream.encode(), row.version, row.event_id)):
        part.append(row)
        size += len(row.data)
        if size > _MAX_STATEMENT:
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
