"""The inbox: the messages without a version that a handler has handled, one row a message.

The row is written in the handler's transaction. A message has no stream, so it gets one of its own, named
`message:<id>@<source>`, at version 1; its row in `inbox` is the checkpoint. So the code for checkpoints (exactly-once
effect, parking, redrive) also handles messages. Unlike a checkpoint, a row is useless when no broker will deliver the
message again: `prune_inbox` deletes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import database_errors, file_name, in_schema, plain_array, text_array
from eventkit.storage.projections.checkpoints import Checkpoint, Checkpoints, Span

_PREFIX = "message:"  # no stream begins with it: a category has no colon
MAX_BYTES = 8_000_000  # of the replies that are read at once; a single one may exceed it
MOST_COUNTED = 10_000  # messages that a count reads at most
_PAGE = 10_000  # rows that are pruned in one transaction

# Of two processes with the same message, the second waits at the unique key, then finds the row.
_TAKE = """insert into {s}.inbox as i (handler, message, event_id)
select %(handler)s, m, e from unnest(%(messages)s::text[], %(ids)s::uuid[]) x(m, e) order by m collate "C"
on conflict (handler, message) do update set event_id = excluded.event_id where i.event_id is null and not i.parked
returning message"""
_READ = """select message, (event_id is not null)::int, event_id, parked
             from {s}.inbox where handler = %s and message = any(%s)"""
_FREE = """select message from {s}.inbox where handler = %s and message = any(%s)
            order by message collate "C" for no key update skip locked"""
_THERE = "select message from {s}.inbox where handler = %s and message = any(%s)"
_CREATE = "insert into {s}.inbox (handler, message) values (%s, %s) on conflict do nothing"
_LOCK = """select message, (event_id is not null)::int, event_id, parked
             from {s}.inbox where handler = %s and message = %s for update"""
_MOVE = "update {s}.inbox set event_id = %s, parked = %s where handler = %s and message = %s"

_OLDEST = "select clock_timestamp() - received_at from {s}.inbox order by received_at limit 1"
_COUNT_OLD = f"""select count(*) from (
  select from {{s}}.inbox where received_at < clock_timestamp() - %(age)s and event_id is not null and not parked
     and (%(handler)s::text is null or handler = %(handler)s::text) limit {MOST_COUNTED}) counted"""
_PRUNE = """delete from {s}.inbox where (handler, message) in (
  select handler, message from {s}.inbox
   where received_at < clock_timestamp() - %(age)s and event_id is not null and not parked
     and (%(handler)s::text is null or handler = %(handler)s::text)
   order by received_at limit %(limit)s for update skip locked)"""
# The transaction that stores a reply has inserted its row before, and the conflict finds it by its key. An update that
# joins the array would read the whole inbox, by a plan that was made while the inbox was empty.
_KEEP = """insert into {s}.inbox (handler, message, reply)
select %(handler)s, m, r from unnest(%(messages)s::text[], %(replies)s::json[]) x(m, r)
on conflict (handler, message) do update set reply = excluded.reply"""
# The stored size, times a factor for the compression, bounds the bytes before any large value is fetched.
_REPLIES = f"""select message, reply::text, parked, total from (
  select *, count(*) over () as total, sum(bytes) over (order by message rows unbounded preceding) as running from (
    select message, reply, parked, coalesce(pg_column_size(reply) * case pg_column_compression(reply)
             when 'pglz' then 16 when 'lz4' then 40 else 1 end, 0) as bytes
      from {{s}}.inbox where handler = %(handler)s and message = any(%(messages)s::text[])) i) page
 where running - bytes < {MAX_BYTES}"""


class StoredReply(NamedTuple):
    """The stored reply to a request, None where there is none, and whether the request is parked."""

    reply: str | None  # JSON
    parked: bool


def name_of_message(event_id: str, source: str) -> str:
    """Return the stream name of a message; with a digest where its id and source are too long for an index."""
    return file_name(f"{_PREFIX}{event_id}@{source}")


def is_message(stream: str) -> bool:
    """Return whether this is the name of a message and not of a stream."""
    return stream.startswith(_PREFIX)


class Inbox(Checkpoints):
    """The checkpoints of one schema, and the messages of one handler."""

    def __init__(self, schema: str, handler: str) -> None:
        super().__init__(schema)
        self._handler = handler

    def advance(self, connection: psycopg.Connection[Any], generation: int, spans: Sequence[Span]) -> set[str]:
        """Advance streams, and insert messages that were not handled yet; return those that advanced."""
        streams = [span for span in spans if not is_message(span.stream)]
        messages = [span for span in spans if is_message(span.stream)]
        advanced = super().advance(connection, generation, streams) if streams else set()
        return advanced | self._take(connection, messages) if messages else advanced

    def locked(self, connection: psycopg.Connection[Any], generation: int, streams: Sequence[str]) -> set[str]:
        """Lock checkpoints and rows of messages without waiting; return those that another transaction has locked."""
        params = (self._handler, [stream for stream in streams if is_message(stream)])
        free = {message for (message,) in connection.execute(self._sql(_FREE), params)}
        there = {message for (message,) in connection.execute(self._sql(_THERE), params)}
        return super().locked(connection, generation, streams) | (there - free)

    def read(
        self, connection: psycopg.Connection[Any], generation: int, streams: Sequence[str]
    ) -> dict[str, Checkpoint]:
        """Return the checkpoints of streams and messages, as committed now."""
        messages = [stream for stream in streams if is_message(stream)]
        rows = connection.execute(self._sql(_READ), (self._handler, messages))
        return {**super().read(connection, generation, streams), **{row[0]: Checkpoint(*row) for row in rows}}

    def lock(self, connection: psycopg.Connection[Any], generation: int, stream: str) -> Checkpoint:
        """Lock one checkpoint, creating it at version 0."""
        if not is_message(stream):
            return super().lock(connection, generation, stream)
        connection.execute(self._sql(_CREATE), (self._handler, stream))
        row = connection.execute(self._sql(_LOCK), (self._handler, stream)).fetchone()
        return Checkpoint(*row) if row else self.lock(connection, generation, stream)  # pruned since

    def move(self, connection: psycopg.Connection[Any], generation: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint that this transaction has locked."""
        if not is_message(checkpoint.stream):
            super().move(connection, generation, checkpoint)
            return
        place = (self._handler, checkpoint.stream)
        connection.execute(self._sql(_MOVE), (checkpoint.event_id, checkpoint.parked, *place))

    def _take(self, connection: psycopg.Connection[Any], messages: Sequence[Span]) -> set[str]:
        params = {
            "handler": self._handler,
            "messages": text_array([span.stream for span in messages]),
            "ids": plain_array([span.id for span in messages]),
        }
        return {message for (message,) in connection.execute(self._sql(_TAKE), params)}


def keep_replies(connection: psycopg.Connection[Any], schema: str, handler: str, replies: Mapping[str, str]) -> None:
    """Store replies, as JSON by message, in the transaction that has inserted the messages."""
    params = {"handler": handler, "messages": text_array(replies), "replies": text_array(replies.values())}
    connection.execute(in_schema(_KEEP, schema), params)


def find_replies(
    connection: psycopg.Connection[Any], schema: str, handler: str, messages: Sequence[str]
) -> Iterator[dict[str, StoredReply]]:
    """Yield the stored replies to requests that were handled or parked, some 8 MB at a time.

    Other requests are left out.
    """
    left = set(messages)
    while left:
        with database_errors():
            params = {"handler": handler, "messages": text_array(left)}
            rows = connection.execute(in_schema(_REPLIES, schema), params).fetchall()
        if rows:
            yield {message: StoredReply(reply, parked) for message, reply, parked, _ in rows}
        left = {*left}.difference(row[0] for row in rows) if rows and rows[0][-1] > len(rows) else set()


def prune_inbox(connection: psycopg.Connection[Any], schema: str, *, age: timedelta, handler: str | None = None) -> int:
    """Delete messages received longer than `age` ago, on an autocommit connection, in batches; return their number.

    Parked messages stay. A message that a broker delivers again after that is handled again.
    """
    statement = in_schema(_PRUNE, schema)
    pruned, page = 0, _PAGE
    with database_errors():
        while page == _PAGE:
            page = connection.execute(statement, {"age": age, "handler": handler, "limit": _PAGE}).rowcount
            pruned += page
    return pruned


def oldest(connection: psycopg.Connection[Any], schema: str) -> timedelta | None:
    """Return the age of the oldest message in the inbox; None where there is none."""
    with database_errors():
        row = connection.execute(in_schema(_OLDEST, schema)).fetchone()
    return row[0] if row else None


def count_old_messages(
    connection: psycopg.Connection[Any], schema: str, *, age: timedelta, handler: str | None = None
) -> int:
    """Return the number of messages that `prune_inbox` would delete, counting 10,000 at most."""
    with database_errors():
        statement = in_schema(_COUNT_OLD, schema)
        row = connection.execute(statement, {"age": age, "handler": handler}).fetchone()
    return int(row[0]) if row else 0
