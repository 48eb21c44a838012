"""Snapshots: an aggregate's state at a version, so loading reads only later events. They may be deleted at any time.

A snapshot is valid only for the fold that made it (its fingerprint), and only while the event that it was taken after
is still the stored one. So after a restore, an edit or a prune, no state is read that the events would not give. It is
written after the append, in the caller's transaction, which holds the stream's lock. The write is inside a savepoint,
because its failure must not undo the append, and it does not wait for a transaction that deletes the snapshot.
"""

import logging
from typing import NamedTuple
from uuid import UUID

import psycopg

from eventkit.domain.codec import Encoded
from eventkit.storage.db import Steps, database_errors, first_line, text_in_schema
from eventkit.storage.privacy import Encryption, Unsealed

logger = logging.getLogger("eventkit.aggregates")

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


class Snapshot(NamedTuple):
    """A state to keep, and the event that it was taken after."""

    stream: str
    aggregate: str
    version: int
    event_id: UUID
    fingerprint: str
    state: Encoded


class SnapshotSql:
    """The statements for one PostgreSQL schema, built once."""

    savepoint = "savepoint eventkit_snapshot"
    rollback = "rollback to savepoint eventkit_snapshot"
    release = "release savepoint eventkit_snapshot"

    def __init__(self, schema: str) -> None:
        self.read, self.keep = text_in_schema(_READ, schema), text_in_schema(_KEEP, schema)


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
    with database_errors():
        yield sql.savepoint, None
        try:
            unsealed = Unsealed(snapshot.stream, snapshot.event_id, snapshot.state)
            sealed = yield from sealing.sealed_if_free(source, unsealed)
            if sealed is not None:
                yield sql.keep, {**params, "state": sealed.data}
        except psycopg.Error as error:
            yield sql.rollback, None  # raises where the connection is lost: the transaction is lost too
            yield sql.release, None
            logger.warning("no snapshot of %s at version %d: %s", snapshot.stream, snapshot.version, first_line(error))
            return False
        yield sql.release, None
    return sealed is not None
