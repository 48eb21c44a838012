"""Keeps events that could not be applied, and those that wait behind them, under the stream's checkpoint lock.

A letter has the message as it was received (its headers in `event`, its bytes in `data`), so a redrive decodes it with
its own code. Keeping a letter is idempotent: a redelivery finds it. A malformed message has version 0: it has no place
in a stream, and parks none. `keeping` writes a letter with any content, `redrive` has the letters of applied events
removed, `actions` has the operators' actions. The relay parks by positions alone (`eventkit.storage.outbox.parking`).
Called by `eventkit.projection`.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.domain.message import Message
from eventkit.storage.db import file_name, in_schema, plain_text
from eventkit.storage.dead_letters.keeping import LetterRow, keep_rows

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


class Letter(msgspec.Struct):
    """An event to keep; `cause` is one of `CAUSES` (`eventkit.storage.letter_causes`)."""

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


def _message(event: dict[str, Any], data: bytes) -> Message:
    return Message(event["topic"], event["key"], bytes(data), list(event["headers"].items()))
