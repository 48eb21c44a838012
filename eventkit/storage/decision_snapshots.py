"""Snapshots of decision models: a state, and the last event of each of its tags. They may be deleted at any time.

A snapshot is written after an append by the decision, which holds the locks of all its tags. So the state includes
every event that these tags had, and every later event has a higher position. Reading continues above each tag's last
event, in order of position. The write is inside a savepoint: its failure must not undo the append. A snapshot is valid
only for the code that made it (its fingerprint), and only while the last event of each of its tags exists. Pruning and
restoring delete all snapshots.
"""

import logging
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError

from eventkit.storage.db import Steps, database_errors, first_line, plain_array, text_array, text_in_schema
from eventkit.storage.snapshots import SnapshotSql

logger = logging.getLogger("eventkit.aggregates")

_READ = """select h.tag, h.position, s.state::text
  from {s}.decision_snapshots s cross join lateral unnest(s.tags, s.positions) h(tag, position)
 where s.model = %(model)s::text and s.key = %(key)s::text and s.fingerprint = %(fingerprint)s::text
   and not exists (
     select from unnest(s.tags, s.positions, s.event_ids) l(tag, position, id)
      where not exists (select from {s}.event_tags x join {s}.events e using (position)
                         where x.tag = l.tag and x.position = l.position and e.id = l.id))"""

# A locked row is being deleted: this statement does not wait for it.
_KEEP = """with there as (
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


class SnapshotPlace(NamedTuple):
    """Identifies a snapshot: the model, a digest of its query, and the fingerprint of its code."""

    model: str
    key: str
    fingerprint: str


class KnownState(NamedTuple):
    """A state, and the position of the last event of each tag."""

    state: str  # JSON
    positions: dict[str, int]


class DecisionSnapshotSql(SnapshotSql):
    """The statements for one PostgreSQL schema, built once."""

    def __init__(self, schema: str) -> None:
        super().__init__(schema)
        self.read, self.keep = text_in_schema(_READ, schema), text_in_schema(_KEEP, schema)


def recall_steps(sql: DecisionSnapshotSql, place: SnapshotPlace) -> Steps[KnownState | None]:
    """Return a valid snapshot; None where there is none."""
    with database_errors():
        rows = yield sql.read, place._asdict()
    return KnownState(rows[0][2], {row[0]: row[1] for row in rows}) if rows else None


def keep_steps(sql: DecisionSnapshotSql, place: SnapshotPlace, known: KnownState, ids: dict[str, str]) -> Steps[bool]:
    """Store a snapshot over an older one; log a warning where that fails. `ids` are the ids of the last events."""
    params: dict[str, Any] = {
        **place._asdict(),
        "tags": text_array(known.positions),
        "positions": plain_array(known.positions.values()),
        "event_ids": plain_array(ids[tag] for tag in known.positions),
        "state": known.state,
    }
    with database_errors():
        yield sql.savepoint, None
        try:
            yield sql.keep, params
        except (psycopg.Error, DBAPIError) as error:
            yield sql.rollback, None  # raises where the connection is lost: the transaction is lost too
            yield sql.release, None
            logger.warning("no snapshot of the decision model %s: %s", place.model, first_line(error))
            return False
        yield sql.release, None
    return True
