"""Closes streams: all their events go into a file, one JSON object a line, and away; nothing is appended to them again.

The file is written, flushed to the disk and given its name before anything is deleted, in the transaction that holds
the streams. `restore` puts a file's events back where they were, under the same positions and ids, and opens the
streams again. The rules of pruning hold: nothing unsent, nothing that a projection has not applied.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from uuid_utils.compat import uuid7

from eventkit.errors import ArchiveError
from eventkit.storage.arrays import plain_array, text_array
from eventkit.storage.connection import database_errors
from eventkit.storage.maintenance import check_maintenance
from eventkit.storage.pruning import READS, RECORD, take_away

_LOCK = """select stream, version, closed from {s}.streams where stream = any(%s) order by stream for no key update"""
_UNSENT = """select e.stream, count(*) from {s}.events e join {s}.outbox o on o.position = e.position
              where e.stream = any(%s) group by 1 order by 1"""
_UNAPPLIED = f"""select s.stream, p.name from {{s}}.streams s
  cross join (select name, generation, categories from {{s}}.projections
              union all select name, generation, categories from {{s}}.rebuilds) p
 where {READS.format(generation="p", stream="s")}
   and s.stream = any(%s) and p.name <> all(%s) and s.version > s.pruned_to and not exists (
   select from {{s}}.checkpoints c
    where c.generation = p.generation and c.stream = s.stream and c.version >= s.version) order by 1, 2"""
_EVENTS = """select position, split_part(stream, '-', 1), source, row_to_json(e)::text from {s}.events e
              where stream = any(%s) order by stream, version"""
_CLOSE = "update {s}.streams set pruned_to = version, closed = true where stream = any(%s)"
_OPEN = """update {s}.streams t set closed = false, pruned_to = x.first - 1
  from unnest(%s::text[], %s::int[], %s::int[]) x(stream, first, last)
 where t.stream = x.stream and t.closed and t.version = x.last returning t.stream"""
_PUT_BACK = """insert into {s}.events overriding system value
select e.* from unnest(%s::jsonb[]) l, jsonb_populate_record(null::{s}.events, l) e order by e.position"""
_BATCH = 5_000  # events put back by one statement


class Archive:
    """Archives and restores, on an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, actor: str) -> None:
        """Do nothing yet."""
        self._connection = connection
        self._schema = schema
        self._actor = actor

    def close(self, streams: Sequence[str], file: Path, *, ignored: Sequence[str] = ()) -> int:
        """Archive streams into a new file, all or none; return how many events it has."""
        names = sorted(set(streams))
        with database_errors(), self._connection.transaction():
            check_maintenance(self._connection, self._schema)
            self._check(names, ignored)
            positions, tally = self._write(names, file)
            # crash point: archived, not committed -> the file is there, and the store as it was
            take_away(self._connection, self._schema, positions)
            self._execute(_CLOSE, (names,))
            run = {"run": uuid7(), "actor": self._actor, "before": None, "archive": str(file.absolute())}
            for (category, source), events in tally.items():
                self._execute(RECORD, {**run, "category": category, "source": source, "events": events})
        return len(positions)

    def restore(self, file: Path) -> list[str]:
        """Put back what a file has; return the streams, which are open again."""
        lines = _read(file)
        streams = _spans(file, lines)
        with database_errors(), self._connection.transaction():
            bounds = (text_array(streams), *(plain_array(span[end] for span in streams.values()) for end in (0, -1)))
            opened = {stream for (stream,) in self._execute(_OPEN, bounds)}
            if missing := sorted(set(streams) - opened):
                raise ArchiveError(
                    f"{file} cannot be restored: {missing[0]} is not closed in this database at version "
                    f"{streams[missing[0]][-1]}; nothing was done"
                )
            for start in range(0, len(lines), _BATCH):
                self._execute(_PUT_BACK, (lines[start : start + _BATCH],))
            # crash point: restored, not committed -> the streams are closed as before
        return sorted(opened)

    def _check(self, names: list[str], ignored: Sequence[str]) -> None:
        """Lock the streams, and refuse what is missing, closed, unsent or unapplied."""
        found = {stream: closed for stream, _, closed in self._execute(_LOCK, (names,))}
        for name in names:
            if name not in found:
                raise ArchiveError(f"there is no stream {name!r}: nothing was archived")
            if found[name]:
                raise ArchiveError(f"stream {name!r} is closed already: nothing was archived")
        for stream, count in self._execute(_UNSENT, (names,)):
            raise ArchiveError(f"{count} events of {stream} are not sent yet: let the relay send them first")
        for stream, projection in self._execute(_UNAPPLIED, (names, list(ignored))):
            raise ArchiveError(
                f"projection {projection!r} has not applied {stream} to its end: let its projector do so, "
                "or ignore that projection if it does not read this stream"
            )

    def _write(self, names: list[str], file: Path) -> tuple[list[int], dict[tuple[str, str], int]]:
        """Write the events, and make sure that they are on the disk under the file's name."""
        positions: list[int] = []
        tally: dict[tuple[str, str], int] = {}
        part = file.with_name(f"{file.name}.part")
        with _file_errors(file), part.open("w", encoding="utf-8") as out:
            if file.exists():
                raise ArchiveError(f"{file} is there already: an archive is never written over, name another file")
            cursor = self._connection.cursor(name="archive")
            for position, category, source, line in cursor.execute(self._sql(_EVENTS), (names,)):
                out.write(f"{line}\n")
                positions.append(position)
                tally[category, source] = tally.get((category, source), 0) + 1
            out.flush()
            os.fsync(out.fileno())
            part.rename(file)
            folder = os.open(file.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        return positions, tally

    def _execute(self, statement: str, params: Any) -> psycopg.Cursor[Any]:  # noqa: ANN401 what psycopg takes
        return self._connection.execute(self._sql(statement), params)

    def _sql(self, statement: str) -> bytes:
        return statement.format(s=f'"{self._schema}"').encode()


def _read(file: Path) -> list[str]:
    with _file_errors(file):
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _spans(file: Path, lines: Sequence[str]) -> dict[str, range]:
    """Return the versions of each stream in a file; ArchiveError where they are not all there."""
    versions: dict[str, list[int]] = {}
    try:
        for line in lines:
            event = json.loads(line)
            versions.setdefault(event["stream"], []).append(event["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{file} is no archive of events: {error!r}") from error
    spans = {stream: range(min(found), max(found) + 1) for stream, found in versions.items()}
    for stream, span in spans.items():
        if sorted(versions[stream]) != list(span):
            raise ArchiveError(f"{file} does not have all events of {stream} between its first and its last")
    return spans


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{file} cannot be used: {error}; nothing was done") from error
