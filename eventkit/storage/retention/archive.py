"""Archives streams: moves all their events into a file, one JSON object a line, and closes the streams for appends.

The file is written, flushed to the disk, read back and compared with the store before any event is deleted. One
transaction locks the streams, deletes the events and stores the file's SHA-256. `restore` inserts the events of an
archive of this database again, with the same positions and ids, and reopens the streams; any other file is refused. The
rules of pruning apply: unsent events, and events that a projection has not applied, are not archived.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from uuid_utils.compat import uuid7

from eventkit.errors import ArchiveError
from eventkit.storage.db import database_errors, in_schema, plain_array, text_array
from eventkit.storage.debezium import unsent_by_debezium
from eventkit.storage.events import HEX, PRIME, SUM
from eventkit.storage.retention.archive_file import Lines, created, digest, keep, opened
from eventkit.storage.retention.maintenance_role import check_maintenance
from eventkit.storage.retention.prune import FORGET_DECISIONS, RECORD, take_away

_LOCK = """select stream, version, closed from {s}.streams where stream = any(%s) order by stream for no key update"""
_UNSENT = """select e.stream, count(*) from {s}.events e join {s}.outbox o on o.position = e.position
              where e.stream = any(%s) group by 1 order by 1"""
_UNAPPLIED = """select s.stream, p.name from {s}.streams s
  cross join (select name, generation, categories from {s}.projections
              union all select name, generation, categories from {s}.rebuilds) p
 where (cardinality(p.categories) = 0 or split_part(s.stream, '-', 1) = any(p.categories))
   and s.stream = any(%s) and p.name <> all(%s) and s.version > s.pruned_to and not exists (
   select from {s}.checkpoints c
    where c.generation = p.generation and c.stream = s.stream and c.version >= s.version) order by 1, 2"""
# An event's row, with its tags where it has any.
_EVENTS = """select position, split_part(stream, '-', 1), source,
       case when tags is null then row_to_json(e)::text
            else left(row_to_json(e)::text, -1) || ', "tags": ' || tags || '}}' end
  from {s}.events e, lateral (
    select (select jsonb_agg(g.tag order by g.tag) from {s}.event_tags g where g.position = e.position)::text as tags) t
 where stream = any(%s) order by stream, version"""
_CLOSE = "update {s}.streams set pruned_to = version, closed = true where stream = any(%s)"
# The digest of the pruned events gains the archived events before they are deleted, and loses them after a restore.
_ADD = f"""update {{s}}.streams t set pruned_digest = mod(t.pruned_digest + x.digest, {PRIME})
  from (select e.stream, {SUM} as digest from {{s}}.events e cross join lateral (select {HEX} as h) x
         where e.stream = any(%s) group by e.stream) x where t.stream = x.stream"""
_SUBTRACT = f"""update {{s}}.streams t set pruned_digest = mod(t.pruned_digest + {PRIME} - x.digest, {PRIME})
  from (select e.stream, {SUM} as digest from {{s}}.events e cross join lateral (select {HEX} as h) x
         where e.stream = any(%s) group by e.stream) x where t.stream = x.stream"""
_OPEN = """update {s}.streams t set closed = false, pruned_to = x.first - 1
  from unnest(%s::text[], %s::int[], %s::int[]) x(stream, first, last)
 where t.stream = x.stream and t.closed and t.version = x.last returning t.stream"""

# As text, because 1.0 and 1.00 are equal to a comparison, but not the same event. `offset 0`: one look-up an event by
# the primary key; else PostgreSQL may hash the text of all events of the store, for each batch.
_SAME = """select count(*) from unnest(%s::jsonb[]) l, jsonb_populate_record(null::{s}.events, l) r
 cross join lateral (select * from {s}.events x where x.position = r.position offset 0) e
 where e::text = r::text and l -> 'tags' is not distinct from (
   select jsonb_agg(g.tag order by g.tag) from {s}.event_tags g where g.position = e.position)"""
_PUT_BACK = """insert into {s}.events overriding system value
select r.* from unnest(%s::jsonb[]) l, jsonb_populate_record(null::{s}.events, l) r order by r.position"""
_TAG_AGAIN = """insert into {s}.event_tags (tag, position)
select t.tag, r.position from unnest(%s::jsonb[]) l, jsonb_populate_record(null::{s}.events, l) r
 cross join jsonb_array_elements_text(coalesce(l -> 'tags', '[]')) t(tag)"""
_SPANS = """select r.stream, min(r.version), max(r.version)
  from unnest(%s::jsonb[]) l, jsonb_populate_record(null::{s}.events, l) r group by 1 order by 1"""
_KNOWN = "select exists (select from {s}.prunings where archive_digest = %s)"
_FETCH_SIZE = 50  # events, each up to a megabyte


class Archive:
    """Archives and restores, on an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, actor: str) -> None:
        self._connection = connection
        self._schema = schema
        self._actor = actor

    def close(self, streams: Sequence[str], file: Path, *, ignored: Sequence[str] = ()) -> int:
        """Archive streams into a new file, all or none; return the number of its events.

        `ignored` projections need not have applied the events. Raises ArchiveError, or MaintenanceDenied.
        """
        names = sorted(set(streams))
        with database_errors(), self._connection.transaction():
            check_maintenance(self._connection, self._schema)
            self._check(names, ignored)
            with created(file) as out:
                positions, tally = self._write(names, out)
                keep(out, file)
                found = self._verify(out, file, len(positions))
                # crash point: archived, not committed -> the file exists, and the store is unchanged
                self._execute(_ADD, (names,))
                take_away(self._connection, self._schema, positions)
                self._execute(_CLOSE, (names,))
                run = {"run": uuid7(), "actor": self._actor, "before": None}
                of_file = {"archive": str(file.absolute()), "digest": found}
                for (category, source), events in tally.items():
                    self._execute(RECORD, {**run, **of_file, "category": category, "source": source, "events": events})
        return len(positions)

    def restore(self, file: Path) -> list[str]:
        """Insert the events of a file again; return its streams, which are open again."""
        with opened(file) as there, database_errors(), self._connection.transaction():
            found = digest(there)
            if self._execute(_KNOWN, (found,)).fetchone() != (True,):
                raise ArchiveError(
                    f"{file} is not an archive of this database, or was changed since it was written (SHA-256 "
                    f"{found}): nothing was done"
                )
            streams = self._spans(there)
            self._open(file, streams)
            lines = Lines(there)
            for batch in lines.batches():
                self._execute(_PUT_BACK, (batch,))
                self._execute(_TAG_AGAIN, (batch,))
            if lines.digest != found:
                raise ArchiveError(f"{file} was changed while it was read: nothing was done")
            self._execute(_SUBTRACT, (sorted(streams),))
            self._execute(FORGET_DECISIONS, ())
            # crash point: restored, not committed -> the streams are closed as before
            return sorted(streams)

    def _check(self, names: list[str], ignored: Sequence[str]) -> None:
        """Lock the streams; refuse missing and closed ones, and those with unsent or unapplied events."""
        found = {stream: closed for stream, _, closed in self._execute(_LOCK, (names,))}
        for name in names:
            if name not in found:
                raise ArchiveError(f"there is no stream {name!r}: nothing was archived")
            if found[name]:
                raise ArchiveError(f"stream {name!r} is closed already: nothing was archived")
        for stream, count in self._execute(_UNSENT, (names,)):
            raise ArchiveError(f"{count} events of {stream} are not sent yet: let the relay send them first")
        # after the outbox: a switch that has ended between the two has deleted outbox rows of unsent events
        if reason := unsent_by_debezium(self._connection, self._schema):
            raise ArchiveError(f"{reason}: start the connector, and archive when it has caught up")
        for stream, projection in self._execute(_UNAPPLIED, (names, list(ignored))):
            raise ArchiveError(
                f"projection {projection!r} has not applied {stream} to its end: let its projector catch up, "
                "or ignore that projection if it does not read this stream"
            )

    def _write(self, names: list[str], out: BinaryIO) -> tuple[list[int], dict[tuple[str, str], int]]:
        positions: list[int] = []
        tally: dict[tuple[str, str], int] = {}
        cursor = self._connection.cursor(name="archive")
        cursor.itersize = _FETCH_SIZE
        for position, category, source, line in cursor.execute(self._sql(_EVENTS), (names,)):
            out.write(f"{line}\n".encode())
            positions.append(position)
            tally[category, source] = tally.get((category, source), 0) + 1
        return positions, tally

    def _verify(self, out: BinaryIO, file: Path, events: int) -> str:
        """Read the file back, compare it with the store, and return its SHA-256."""
        lines = Lines(out)
        same = sum(self._execute(_SAME, (batch,)).fetchone()[0] for batch in lines.batches())  # type: ignore[index]
        if same != events:
            raise ArchiveError(
                f"{file} would have restored {same:,} of {events:,} events unchanged: nothing was archived"
            )
        return lines.digest

    def _spans(self, file: BinaryIO) -> dict[str, tuple[int, int]]:
        """Return the first and the last version of each stream in a file."""
        spans: dict[str, tuple[int, int]] = {}
        for batch in Lines(file).batches():
            for stream, first, last in self._execute(_SPANS, (batch,)):
                spans[stream] = (min(first, spans.get(stream, (first,))[0]), last)
        return spans

    def _open(self, file: Path, streams: dict[str, tuple[int, int]]) -> None:
        bounds = (text_array(streams), *(plain_array(span[end] for span in streams.values()) for end in (0, -1)))
        opened_again = {stream for (stream,) in self._execute(_OPEN, bounds)}
        if missing := sorted(set(streams) - opened_again):
            raise ArchiveError(
                f"{file} cannot be restored: {missing[0]} is not closed in this database at version "
                f"{streams[missing[0]][-1]}; nothing was done"
            )

    def _execute(self, statement: str, params: Any) -> psycopg.Cursor[Any]:  # noqa: ANN401 psycopg's
        return self._connection.execute(self._sql(statement), params)

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
