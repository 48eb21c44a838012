"""Edits and discards dead letters; each action runs in one transaction with its record.

An action on a projection's letters holds the projection's fence and the stream's checkpoint lock, as its projectors do.
A discard moves the checkpoint past the event, comparing versions.

The relay's letters only mark the position from which on it skips a stream. The relay parks and settles under its epoch.
An amendment holds other data, or a tombstone, in place of the event: the relay, repairs and rebuilds send and apply
that.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.errors import GAP, DeadLetterError
from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.dead_letters.query import RELAY
from eventkit.storage.dead_letters.redrive import RedriveRequests
from eventkit.storage.events import part_of
from eventkit.storage.projections import Checkpoint, Inbox, ProjectionRegistry, generation_of

TOMBSTONE = "eventkit.tombstone"  # a type without handlers: published in place of a discarded event

# Only unsent events, which are in the outbox, are amended: by a tombstone, or by other data.
_BURY = """insert into {s}.amendments (position, event_id, type, schema_version, data, metadata)
select e.position, e.id, 'eventkit.tombstone', 1, jsonb_build_object('type', e.type), '{{}}'
  from {s}.dead_letters d join {s}.events e on e.position = d.position join {s}.outbox o on o.position = e.position
 where d.id = any(%(ids)s)
on conflict (position) do update set type = excluded.type, schema_version = excluded.schema_version,
   data = excluded.data, metadata = excluded.metadata, amended_at = excluded.amended_at"""
_REPLACE = """insert into {s}.amendments (position, event_id, type, schema_version, data, metadata)
select e.position, e.id, e.type, e.schema_version, %(data)s::jsonb, e.metadata
  from {s}.dead_letters d join {s}.events e on e.position = d.position join {s}.outbox o on o.position = e.position
 where d.id = any(%(ids)s)
on conflict (position) do update set type = excluded.type, schema_version = excluded.schema_version,
   data = excluded.data, metadata = excluded.metadata, amended_at = excluded.amended_at"""

_PLACED = "select from {s}.dead_letters where id = any(%(ids)s) and version > 0 limit 1"
# In order, so two operators who discard the same letters wait for each other.
_LOCK = """select id, version, event_id, cause from {s}.dead_letters
 where id = any(%(ids)s) order by version, id for update"""
_FIRST_OTHER = """select min(version) from {s}.dead_letters
 where parked_by = %(parked_by)s and stream = %(stream)s and version > %(above)s and id <> all(%(ids)s)"""
_DISCARD = """with gone as (delete from {s}.dead_letters where id = any(%(ids)s) returning *)
insert into {s}.dead_letter_actions (actor, action, result, letter, parked_by, stream, version, position, event_id,
       type, cause, error, detail, attempts, event, data, parked_at)
select %(actor)s, 'discard', r.result, g.id, g.parked_by, g.stream, g.version, g.position, g.event_id, g.type,
       g.cause, g.error, g.detail, g.attempts, g.event, g.data, g.parked_at
  from gone g join unnest(%(ids)s::bigint[], %(results)s::text[]) r(id, result) on r.id = g.id
 order by g.version, g.id"""

_EDIT = """with edited as (update {s}.dead_letters set data = new from (select convert_to(%(data)s, 'UTF8') as new) n
                           where id = any(%(ids)s) and parked_by <> 'relay')
insert into {s}.dead_letter_actions (actor, action, result, data, new_data, letter, parked_by, stream, version,
       position, event_id, type, cause, error, detail, attempts, event, parked_at)
select %(actor)s, 'edit', 'tried again', coalesce(d.data, convert_to(coalesce(a.data, e.data)::text, 'UTF8')),
       convert_to(%(data)s, 'UTF8'), d.id, d.parked_by, d.stream, d.version,
       d.position, d.event_id, d.type, d.cause, d.error, d.detail, d.attempts, d.event, d.parked_at
  from {s}.dead_letters d left join {s}.events e on e.position = d.position
  left join {s}.amendments a on a.position = d.position where d.id = any(%(ids)s)"""


class LockedLetter(msgspec.Struct, frozen=True):
    """A letter that this transaction has locked."""

    id: int
    version: int
    event_id: UUID
    cause: str


class ActionOutcome(msgspec.Struct, frozen=True):
    """The result of discarding a letter."""

    letter: int
    result: str
    done: bool = True


class LetterActions:
    """One operator's edits and discards, on an autocommit connection; each is recorded with the `actor`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, actor: str) -> None:
        self._connection = connection
        self._schema = schema
        self._actor = actor
        self._redrives = RedriveRequests(connection, schema, actor=actor)

    def discard(self, parked_by: str, stream: str, ids: Sequence[int]) -> list[ActionOutcome]:
        """Discard letters of one stream, in order of version, as long as that leaves no hole.

        Letters behind them are retried.
        """
        place = {"parked_by": parked_by, "stream": stream}
        with database_errors(), self._connection.transaction():
            if parked_by == RELAY:
                checkpoint, outcomes = None, removed(self._lock(ids), "a tombstone is published in its place")
                self._execute(_BURY, ids=[outcome.letter for outcome in outcomes])
            else:
                checkpoint, outcomes = self._skip(place, ids)
            done = [outcome for outcome in outcomes if outcome.done]
            results = [outcome.result for outcome in done]
            self._execute(_DISCARD, ids=[outcome.letter for outcome in done], results=results)
            if parked_by == RELAY:
                self._redrives.restart_relay()
            if checkpoint is not None:
                self._unpark(place, checkpoint)
            # crash point: discarded, not committed -> nothing has happened
        return outcomes

    def edit(self, letter: int, parked_by: str, stream: str, data: str) -> None:
        """Replace a letter's data, keep the old data in the record, and request a retry of its stream."""
        with database_errors(), self._connection.transaction():
            if parked_by != RELAY and self._checkpoint(parked_by, stream) is None:
                raise DeadLetterError(f"dead letter {letter} is of a generation that is not live: it cannot be edited")
            held = self._lock([letter])
            if not held or not held[0].version:
                why = "has no place in any stream: discard it" if held else "is not there any more"
                raise DeadLetterError(f"dead letter {letter} {why}")
            self._execute(_EDIT, ids=[letter], data=data)
            if parked_by == RELAY:
                if not self._execute(_REPLACE, ids=[letter], data=data).rowcount:
                    raise DeadLetterError(
                        f"the event of dead letter {letter} was sent meanwhile: redrive or discard it"
                    )
                self._redrives.send_again([letter])
            else:
                self._redrives.request([letter])
            # crash point: edited, not committed -> nothing has happened

    def _skip(self, place: dict[str, str], ids: Sequence[int]) -> tuple[Checkpoint | None, list[ActionOutcome]]:
        if self._execute(_PLACED, ids=ids).fetchone() is None:
            return None, removed(self._lock(ids), "removed")
        checkpoint = self._checkpoint(**place)
        if checkpoint is None:
            return None, removed(self._lock(ids), "removed: its generation is not live")
        held = self._lock(ids)
        other = self._execute(_FIRST_OTHER, ids=ids, above=checkpoint.version, **place).fetchone()
        return skipped(checkpoint, held, before=other[0] if other else None)

    def _checkpoint(self, parked_by: str, stream: str) -> Checkpoint | None:
        """Hold the fence and lock the checkpoint, as a projector does; None where the generation is not live."""
        name, generation = generation_of(parked_by)
        live = ProjectionRegistry(self._schema).fence(self._connection, name)
        if live is None or live.generation != generation:
            return None
        return Inbox(self._schema, name).lock(self._connection, live.generation, stream)

    def _unpark(self, place: dict[str, str], checkpoint: Checkpoint) -> None:
        """Unpark the stream where no letter is left; else request a retry by its projector."""
        left = self._redrives.request_rest(**place)
        name, generation = generation_of(place["parked_by"])
        moved = msgspec.structs.replace(checkpoint, parked=left)
        Inbox(self._schema, name).move(self._connection, generation, moved)

    def _lock(self, ids: Sequence[int]) -> list[LockedLetter]:
        return [LockedLetter(*row) for row in self._execute(_LOCK, ids=ids)]

    def _execute(self, statement: str, **params: object) -> psycopg.Cursor[Any]:
        return self._connection.execute(in_schema(statement, self._schema), {"actor": self._actor, **params})


def removed(letters: Iterable[LockedLetter], result: str) -> list[ActionOutcome]:
    """Return one outcome for each letter: it was removed."""
    return [ActionOutcome(letter.id, result) for letter in letters]


def skipped(
    checkpoint: Checkpoint, letters: Iterable[LockedLetter], *, before: int | None
) -> tuple[Checkpoint | None, list[ActionOutcome]]:
    """Move a checkpoint past letters in order of version, up to the first other letter of the stream.

    `before` is the version of that other letter. Return the moved checkpoint, None where it stays, and the outcome of
    each letter. A letter at or below the checkpoint does not move it. A letter that waits for missing events is given
    up together with them.
    """
    outcomes: list[ActionOutcome] = []
    now = checkpoint
    for letter in letters:
        follows = letter.version == now.version + 1
        if letter.version <= now.version:
            outcomes.append(ActionOutcome(letter.id, "removed"))
        elif not (follows or letter.cause == GAP) or (before is not None and letter.version > before):
            outcomes.append(ActionOutcome(letter.id, f"waits for the event after version {now.version}", done=False))
        else:
            missing = "" if follows else ", over versions that were missing"
            result = f"the checkpoint went from version {now.version} to {letter.version}{missing}"
            part = part_of(letter.event_id, letter.version) if follows else None
            now = now.advanced(letter.version, letter.event_id, part)
            outcomes.append(ActionOutcome(letter.id, result))
    return (now if any(outcome.done for outcome in outcomes) else None), outcomes
