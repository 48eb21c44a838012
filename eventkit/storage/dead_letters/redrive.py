"""Redrives dead letters: requests that parked streams are retried from their first letter on.

A running projector takes up a request (`eventkit.projection.run.projector`), with its own code, and applies the letters
(`eventkit.projection.apply.parking`). The relay's letters only mark the position from which on it skips a stream, so
their redrive removes them: the relay notices within a second, and reads the stream again from its lowest unsent event.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.storage.db import database_errors, quoted
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


class RedriveRequests:
    """One operator's redrives, on an autocommit connection; each is recorded with the `actor`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, actor: str) -> None:
        self._connection = connection
        self._schema = quoted(schema)
        self._name = schema
        self._actor = actor

    def redrive(self, choice: Choice, *, named: Sequence[str] = (), process: str | None = None) -> tuple[int, int]:
        """Request that streams are retried from their first letter on.

        Streams of the projections `named` are reserved for `process`. Return the number of projections' streams that
        were not requested before, and the number of the relay's letters that were removed.
        """
        with database_errors(), self._connection.transaction():
            ids = choice.of_relay(yes=False).ids
            asked = self._request(ids, named=named, process=process)
            sent = self._send_again(choice.of_relay(yes=True).ids)
            # crash point: requested, not committed -> nothing has happened
        return asked, sent

    def release(self, process: str) -> int:
        """Withdraw the requests reserved for a process that it has not served; return how many."""
        with database_errors():
            return self._execute(_RELEASE, process=process).rowcount

    def _request(self, ids: Sequence[int], *, named: Sequence[str] = (), process: str | None = None) -> int:
        return self._execute(_REQUEST, ids=ids, named=list(named), process=process).rowcount

    def _request_rest(self, parked_by: str, stream: str) -> bool:
        """Request a retry of a stream if it has letters left; return whether it has."""
        return self._execute(_REQUEST_REST, parked_by=parked_by, stream=stream).fetchone() is not None

    def _send_again(self, ids: Sequence[int]) -> int:
        """Remove the relay's letters of these letters' streams; return how many."""
        sent = self._execute(_SEND_AGAIN, ids=ids).rowcount
        if sent:
            self._restart_relay()
        return sent

    def _restart_relay(self) -> None:
        self._execute(_SEEN_BY_RELAY)

    def _execute(self, statement: str, **params: object) -> psycopg.Cursor[Any]:
        return self._connection.execute(statement.format(s=self._schema).encode(), {"actor": self._actor, **params})
