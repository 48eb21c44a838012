"""Requests redrives of parked streams, and records their results: a stream is retried from its first letter on.

    request     an operator asks for each stream, by a row of `redrives`               `RedriveRequests`
    serve       a running projector applies the letters   `eventkit.projection.apply.redrive`
    end         the letters of applied events are removed, and the request             `Redrives`

The relay's letters only mark the position from which on it skips a stream. So their redrive removes them: the relay
notices within a second (`eventkit.storage.outbox.parking`), and reads the stream again from its lowest unsent event.
Each result is recorded in `dead_letter_actions`, with the operator's name.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.dead_letters.letters import Letter
from eventkit.storage.dead_letters.query import Choice

_REQUEST = """with live as materialized (select generation::text from {s}.projections for share)
insert into {s}.redrives (parked_by, stream, asked_by, reserved_for)
select distinct parked_by, stream, %(actor)s,
       case when split_part(parked_by, ':', 2) = any(%(named)s::text[]) then %(process)s end from {s}.dead_letters
 where id = any(%(ids)s) and version > 0 and split_part(parked_by, ':', 3) in (table live)
on conflict (parked_by, stream) do update set reserved_for = excluded.reserved_for"""
_RELEASE = "delete from {s}.redrives where reserved_for = %(process)s"
_REQUEST_REST = """insert into {s}.redrives (parked_by, stream, asked_by)
select %(parked_by)s, %(stream)s, %(actor)s
 where exists (select from {s}.dead_letters where parked_by = %(parked_by)s and stream = %(stream)s and version > 0)
on conflict (parked_by, stream) do update set asked_by = excluded.asked_by
returning true"""
_SEND_AGAIN = """with gone as (
  delete from {s}.dead_letters where parked_by = 'relay'
     and stream in (select stream from {s}.dead_letters where parked_by = 'relay' and id = any(%(ids)s))
  returning *)
insert into {s}.dead_letter_actions (actor, action, result, letter, parked_by, stream, version, position, event_id,
       type, cause, error, detail, attempts, event, data, parked_at)
select %(actor)s, 'redrive', 'the relay sends it again', id, parked_by, stream, version, position, event_id, type,
       cause, error, detail, attempts, event, data, parked_at from gone"""
# The relay reads this each second, and starts anew when it changes. Last in a transaction: all actions lock this row.
_SEEN_BY_RELAY = "update {s}.installation set relay_redrives = relay_redrives + 1"

_REQUESTED = """select stream from {s}.redrives where parked_by = %s and reserved_for is not distinct from %s
             order by asked_at, stream limit 1000"""
# The result of a requested redrive is recorded in the transaction that has it.
_REMOVE = """with gone as (delete from {s}.dead_letters where id = any(%(ids)s) returning *)
insert into {s}.dead_letter_actions (actor, action, result, letter, parked_by, stream, version, position, event_id,
       type, cause, error, detail, attempts, event, data, parked_at)
select r.asked_by, 'redrive', case when g.version > %(above)s then 'applied' else 'had been applied' end, g.id,
       g.parked_by, g.stream, g.version, g.position, g.event_id, g.type, g.cause, g.error, g.detail, g.attempts,
       g.event, g.data, g.parked_at
  from gone g join {s}.redrives r on r.parked_by = g.parked_by and r.stream = g.stream
 order by g.version, g.id"""
_END = """with asked as (delete from {s}.redrives where parked_by = %(parked_by)s and stream = %(stream)s
                         returning asked_by)
insert into {s}.dead_letter_actions (actor, action, result, letter, parked_by, stream, version, position, event_id,
       type, cause, error, detail, attempts, event, data, parked_at)
select asked_by, 'redrive', 'failed again', id, parked_by, stream, version, position, event_id, type, cause, error,
       detail, attempts, event, data, parked_at
  from {s}.dead_letters, asked
 where parked_by = %(parked_by)s and stream = %(stream)s and version = %(version)s and event_id = %(event_id)s"""


class RedriveRequests:
    """One operator's requests, on an autocommit connection; each is recorded with the `actor`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, actor: str) -> None:
        self._connection = connection
        self._schema = schema
        self._actor = actor

    def redrive(self, choice: Choice, *, named: Sequence[str] = (), process: str | None = None) -> tuple[int, int]:
        """Request that streams are retried from their first letter on.

        Streams of the projections `named` are reserved for `process`. Return the number of projections' streams that
        were not requested before, and the number of the relay's letters that were removed.
        """
        with database_errors(), self._connection.transaction():
            ids = choice.of_relay(yes=False).ids
            requested = self.request(ids, named=named, process=process)
            sent = self.send_again(choice.of_relay(yes=True).ids)
            # crash point: requested, not committed -> nothing has happened
        return requested, sent

    def release(self, process: str) -> int:
        """Withdraw the requests reserved for a process that it has not served; return how many."""
        with database_errors():
            return self._execute(_RELEASE, process=process).rowcount

    def request(self, ids: Sequence[int], *, named: Sequence[str] = (), process: str | None = None) -> int:
        """Request a retry of these letters' streams, in the open transaction; return how many are new."""
        return self._execute(_REQUEST, ids=ids, named=list(named), process=process).rowcount

    def request_rest(self, parked_by: str, stream: str) -> bool:
        """Request a retry of a stream if it has letters left, in the open transaction; return whether it has."""
        return self._execute(_REQUEST_REST, parked_by=parked_by, stream=stream).fetchone() is not None

    def send_again(self, ids: Sequence[int]) -> int:
        """Remove the relay's letters of these letters' streams, in the open transaction; return how many."""
        sent = self._execute(_SEND_AGAIN, ids=ids).rowcount
        if sent:
            self.restart_relay()
        return sent

    def restart_relay(self) -> None:
        """Have the relay read its letters again; the last statement of the open transaction."""
        self._execute(_SEEN_BY_RELAY)

    def _execute(self, statement: str, **params: object) -> psycopg.Cursor[Any]:
        return self._connection.execute(in_schema(statement, self._schema), {"actor": self._actor, **params})


class Redrives:
    """The redrives of one schema as projectors see them, in their transactions."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def requested(
        self, connection: psycopg.Connection[Any], parked_by: str, reserved_for: str | None = None
    ) -> list[str]:
        """Return the streams with a request: for any projector, or reserved for a process."""
        return [
            stream for (stream,) in connection.execute(in_schema(_REQUESTED, self._schema), (parked_by, reserved_for))
        ]

    def remove(self, connection: psycopg.Connection[Any], ids: Sequence[int], *, above: int) -> None:
        """Remove applied letters: above version `above` this transaction applied them, else an earlier transaction."""
        connection.execute(in_schema(_REMOVE, self._schema), {"ids": list(ids), "above": above})

    def end(self, connection: psycopg.Connection[Any], parked_by: str, stream: str, stopped: Letter | None) -> None:
        """Remove a request: the redrive is complete, or has `stopped` at a letter that failed again."""
        params = {
            "parked_by": parked_by,
            "stream": stream,
            "version": stopped.version if stopped else None,
            "event_id": stopped.event_id if stopped else None,
        }
        connection.execute(in_schema(_END, self._schema), params)
