"""Snapshots of aggregates and decision models: a read continues after them. They may be deleted at any time.

An aggregate's snapshot is its state at a version. It is valid only for the fold that made it (its fingerprint), and
only while the event that it was taken after is still the stored one. So after a restore, an edit or a prune, no state
is read that the events would not give.

A decision model's snapshot is a state, and the last event of each of its tags; it is valid while all of these exist.
The decision's append holds the locks of its tags. So the state includes every event that these tags had, and every
later event has a higher position. Reading continues above each tag's last event, in order of position.

Both are written after the append, in the caller's transaction. The write is inside a savepoint, because its failure
must not undo the append, and it does not wait for a transaction that deletes the snapshot.
"""

import logging
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy.exc import DBAPIError

from eventkit.domain.codec import Encoded
from eventkit.storage.db import Steps, database_errors, first_line, plain_array, text_array, text_in_schema
from eventkit.storage.privacy import Encryption, Unsealed

logger = logging.getLogger("eventkit.aggregates")

_SAVEPOINT = "savepoint eventkit_snapshot"
_ROLLBACK = "rollback to savepoint eventkit_snapshot"
_RELEASE = "release savepoint eventkit_snapshot"

# By the primary key, and the unique index on (stream, version).
_READ = """select s.version, s.event_id::text, s.state::text
  from {s}.snapshots s
  join {s}.events e on e.stream = s.stream and e.version = s.version and e.id = s.event_id
 where s.stream = %(stream)s::text and s.aggregate = %(aggregate)s::text and s.fingerprint = %(fingerprint)s::text"""

# Other writers of this stream wait at the stream's row; so a locked snapshot row is being deleted by hand.
_KEEP = """with there as (
  select from {s}.snapshots where stream = %(stream)s::text and aggregate = %(aggregate)s::text
), free as (
  select from {s}.snapshots where stream = %(stream)s::text and aggregate = %(aggregate)s::text
     for update skip locked
)
insert into {s}.snapshots (stream, aggregate, version, event_id, fingerprint, state)
select %(stream)s::text, %(aggregate)s::text, %(version)s::int, %(event_id)s::uuid, %(fingerprint)s::text,
       %(state)s::json
 where exists (select from free) or not exists (select from there)
on conflict (stream, aggregate) do update
   set version = excluded.version, event_id = excluded.event_id, fingerprint = excluded.fingerprint,
       state = excluded.state, saved_at = excluded.saved_at"""

_READ_DECISION = """select h.tag, h.position, s.state::text
  from {s}.decision_snapshots s cross join lateral unnest(s.tags, s.positions) h(tag, position)
 where s.model = %(model)s::text and s.key = %(key)s::text and s.fingerprint = %(fingerprint)s::text
   and not exists (
     select from unnest(s.tags, s.positions, s.event_ids) l(tag, position, id)
      where not exists (select from {s}.event_tags x join {s}.events e using (position)
                         where x.tag = l.tag and x.position = l.position and e.id = l.id))"""

# A locked row is being deleted: this statement does not wait for it.
_KEEP_DECISION = """with there as (
  select from {s}.decision_snapshots where model = %(model)s::text and key = %(key)s::text
), free as (
  select from {s}.decision_snapshots where model = %(model)s::text and key = %(key)s::text for update skip locked
)
insert into {s}.decision_snapshots (model, key, fingerprint, tags, positions, event_ids, state)
select %(model)s::text, %(key)s::text, %(fingerprint)s::text, %(tags)s::text[],
       %(positions)s::bigint[], %(event_ids)s::uuid[], %(state)s::json
 where exists (select from free) or not exists (select from there)
on conflict (model, key) do update
   set fingerprint = excluded.fingerprint, tags = excluded.tags,
       positions = excluded.positions, event_ids = excluded.event_ids, state = excluded.state,
       saved_at = excluded.saved_at"""


class Snapshot(NamedTuple):
    """A state to keep, and the event that it was taken after."""

    stream: str
    aggregate: str
    version: int
    event_id: UUID
    fingerprint: str
    state: Encoded


class SnapshotPlace(NamedTuple):
    """Identifies a snapshot: the model, a digest of its query, and the fingerprint of its code."""

    model: str
    key: str
    fingerprint: str


class KnownState(NamedTuple):
    """A state, and the position of the last event of each tag."""

    state: str  # JSON
    positions: dict[str, int]


class SnapshotSql:
    """The statements for one PostgreSQL schema, built once."""

    def __init__(self, schema: str) -> None:
        self.read, self.keep = text_in_schema(_READ, schema), text_in_schema(_KEEP, schema)
        self.read_decision = text_in_schema(_READ_DECISION, schema)
        self.keep_decision = text_in_schema(_KEEP_DECISION, schema)


def read_steps(sql: SnapshotSql, stream: str, aggregate: str, fingerprint: str) -> Steps[tuple[int, str, str] | None]:
    """Return a valid snapshot's version, its event's id and its state; None where there is none."""
    params = {"stream": str(stream), "aggregate": aggregate, "fingerprint": fingerprint}
    with database_errors():
        rows = yield sql.read, params
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


def keep_steps(sql: SnapshotSql, snapshot: Snapshot, sealing: Encryption, source: str) -> Steps[bool]:
    """Store a snapshot over an older one, with personal data encrypted; log a warning where that fails."""
    params = {**snapshot._asdict(), "stream": str(snapshot.stream), "version": str(snapshot.version)}
    params["event_id"] = snapshot.event_id.hex
    unsealed = Unsealed(snapshot.stream, snapshot.event_id, snapshot.state)
    name = f"{snapshot.stream} at version {snapshot.version}"
    return (yield from _in_savepoint(_keep_sealed(sql, params, sealing.sealed_if_free(source, unsealed)), name))


def _keep_sealed(sql: SnapshotSql, params: dict[str, Any], sealing: Steps[Encoded | None]) -> Steps[bool]:
    """Encrypt and store a snapshot; return False where a subject's key is not free."""
    sealed = yield from sealing
    if sealed is not None:
        yield sql.keep, {**params, "state": sealed.data}
    return sealed is not None


def read_decision_steps(sql: SnapshotSql, place: SnapshotPlace) -> Steps[KnownState | None]:
    """Return a valid snapshot; None where there is none."""
    with database_errors():
        rows = yield sql.read_decision, place._asdict()
    return KnownState(rows[0][2], {row[0]: row[1] for row in rows}) if rows else None


def keep_decision_steps(sql: SnapshotSql, place: SnapshotPlace, known: KnownState, ids: dict[str, str]) -> Steps[bool]:
    """Store a snapshot over an older one; log a warning where that fails. `ids` are the ids of the last events."""
    params: dict[str, Any] = {
        **place._asdict(),
        "tags": text_array(known.positions),
        "positions": plain_array(known.positions.values()),
        "event_ids": plain_array(ids[tag] for tag in known.positions),
        "state": known.state,
    }
    return (yield from _in_savepoint(_keep_decision(sql, params), f"the decision model {place.model}"))


def _keep_decision(sql: SnapshotSql, params: dict[str, Any]) -> Steps[bool]:
    yield sql.keep_decision, params
    return True


def _in_savepoint(writing: Steps[bool], name: str) -> Steps[bool]:
    """Write a snapshot inside a savepoint; undo it and log a warning where PostgreSQL refuses it."""
    with database_errors():
        yield _SAVEPOINT, None
        try:
            kept = yield from writing
        except (psycopg.Error, DBAPIError) as error:
            yield _ROLLBACK, None  # raises where the connection is lost: the transaction is lost too
            yield _RELEASE, None
            logger.warning("no snapshot of %s: %s", name, first_line(error))
            return False
        yield _RELEASE, None
    return kept
