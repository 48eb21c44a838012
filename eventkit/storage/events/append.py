"""Runs the append statement and maps its outcome: one statement, one round trip, any number of events and streams.

The statement locks the stream rows in order of name and raises their versions, inserts the events, then their outbox
rows. It locks a stream's row before it draws positions. So within a stream the order of positions is the order of
versions, and the relay depends on that.

Version conflict: where a stream is not at its expected version, the statement writes nothing (`append_sql`), and
`_conflict` makes the ConcurrencyError. An append to several streams is undone by its savepoint then.

Sync and async share the steps: a generator that yields statements and
receives rows. `eventkit.storage.db.execute` runs it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NoReturn
from uuid import UUID

import msgspec
import psycopg
from msgspec.structs import replace
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import AppendDeadlock, ConcurrencyError, DuplicateEventId, StorageError, StreamClosed
from eventkit.observability import metrics
from eventkit.observability.instruments import is_enabled
from eventkit.storage.db import (
    INTERRUPTED,
    Execute,
    Row,
    Statement,
    Steps,
    database_errors,
    plain_array,
    run,
    text_array,
)
from eventkit.storage.entry import Entry
from eventkit.storage.events.append_sql import (
    ANY_VERSION,
    AT_VERSION,
    NEW_STREAM,
    SourceTopics,
    kind_of,
    many_params,
    one_params,
)
from eventkit.storage.events.decision import (
    Decision,
    conflict_steps,
    has_tags,
    is_changed,
    lock_statement,
    tagged_statement,
)
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.privacy import Encryption

_MAX_STREAMS_SHOWN = 5  # in an error
_LARGEST_KEPT = 16_384  # characters of an event


class Expected(Enum):
    """The expectations of a stream besides a version."""

    ANY = "any version"
    NO_STREAM = "no stream"


ANY: Final = Expected.ANY
NO_STREAM: Final = Expected.NO_STREAM


@dataclass(frozen=True, slots=True)
class Append:
    """Events for one stream of an `append_many`; `expected`, `metadata`, `ids` and `tags` are those of `append`."""

    stream: StreamId | str
    events: Sequence[object]
    expected: Expected | int = field(default=ANY, kw_only=True)
    metadata: Metadata | dict[str, Any] | None = field(default=None, kw_only=True)
    ids: Sequence[UUID] | None = field(default=None, kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Appended events: the version and the position of the last one, and the ids of all."""

    stream: StreamId
    version: int
    position: int
    ids: tuple[UUID, ...]


class Call(msgspec.Struct, frozen=True, gc=False):
    """Entries to append, and the conditions.

    `repeatable` says that the caller gave the ids, so the events may exist already. Entries without events are guards.
    """

    entries: list[Entry]
    repeatable: bool = False
    decision: Decision | None = None
    params: Mapping[str, Any] | None = None  # of inline projections

    @property
    def is_single(self) -> bool:
        """Whether it appends a single event."""
        return len(self.entries) == len(self.entries[0].events) == 1

    @property
    def keeps_cursors(self) -> bool:
        """Whether a connection may keep the cursors of its statements, which hold their last parameters."""
        return self.is_single and len(self.entries[0].events[0].data) <= _LARGEST_KEPT


class Written(msgspec.Struct, frozen=True, gc=False):
    """Appended events and the statement's rows; no rows where an earlier call with the same ids wrote the events."""

    appended: list[Appended]
    rows: list[Row]


def append_on(execute: Execute, sql: TagSql, topics: SourceTopics, call: Call, sealing: Encryption) -> Written:
    """Append on a psycopg connection; without steps where one statement is enough, as it is for most appends.

    Each function on this way takes about a microsecond: while the server runs, the processor's cache loses their code.
    """
    if call.repeatable or call.decision is not None or topics.has_personal or len(call.entries) > 1:
        return run(execute, append_steps(sql, topics, call, sealing))
    try:
        rows = execute(*_statement(sql, topics, call))
        if rows:
            return Written(_appended(call.entries, rows), rows)
        return run(execute, _outcome(sql, topics, call, rows))
    except psycopg.Error as error:
        fail(error, call.entries)


def append_steps(sql: TagSql, topics: SourceTopics, call: Call, sealing: Encryption) -> Steps[Written]:
    """Append to streams, all or nothing.

    A call with several expectations, or with ids, may have to be undone: it runs inside a savepoint, in three round
    trips instead of one. Tags are locked before the savepoint, so their locks outlast a conflict.
    """
    entries = call.entries
    try:
        if topics.has_personal:
            entries = yield from sealing.sealed_entries(topics.name, entries)
            call = replace(call, entries=entries)
        if call.decision is not None:
            yield lock_statement(sql, entries, call.decision)
            # crash point: tags locked, nothing appended -> the caller's transaction is gone, with the locks
        if call.repeatable or (len(entries) > 1 and any(entry.expected is not None for entry in entries)):
            return (yield from _write_in_savepoint(sql, _write(sql, topics, call), call))
        return (yield from _outcome(sql, topics, call, (yield _statement(sql, topics, call))))
    except psycopg.Error as error:
        fail(error, entries)


def _outcome(sql: TagSql, topics: SourceTopics, call: Call, rows: list[Row]) -> Steps[Written]:
    """Return the events that the statement has appended; if it wrote nothing, run it again or raise a conflict."""
    entries = call.entries
    rows = rows or (yield from _write_again(sql, topics, call))
    if call.decision is not None and is_changed(rows):
        raise (yield from conflict_steps(sql, call.decision, stream=entries[0].stream))
    if rows:
        return Written(_appended(entries, rows), rows)
    raise _conflict(entries[0], (yield sql.versions, _names(entries)))


def _write(sql: TagSql, topics: SourceTopics, call: Call) -> Steps[list[Row]]:
    """Run the statement; return a row for each stream that was as expected."""
    return (yield _statement(sql, topics, call)) or (yield from _write_again(sql, topics, call))


def _write_again(sql: TagSql, topics: SourceTopics, call: Call) -> Steps[list[Row]]:
    """Run the statement again where a new stream was expected, and a guard has left the stream at version 0."""
    entries = call.entries
    if _kind(entries) == NEW_STREAM and (entries[0].stream, 0) in (yield sql.versions, _names(entries)):
        return (yield _statement(sql, topics, call, kind=AT_VERSION))
    return []


def _kind(entries: list[Entry]) -> int:
    return kind_of(entries[0]) if len(entries) == 1 else ANY_VERSION


def _statement(sql: TagSql, topics: SourceTopics, call: Call, *, kind: int | None = None) -> Statement:
    """Return the statement that appends, and its parameters; `kind` is that of a single entry's lock."""
    entries, first = call.entries, call.entries[0]
    if kind is None:
        kind = ANY_VERSION if first.expected is None or len(entries) > 1 else kind_of(first)
    if call.is_single and not first.events[0].tags and call.decision is None:  # most appends: few calls of functions
        text, params = sql.one[kind], one_params(topics, first)
    elif call.decision is not None or has_tags(entries):
        text, params = tagged_statement(sql, topics, entries, call.decision, kind)
    else:
        text, params = sql.many[kind], many_params(topics, entries)
    return text, {**params, **call.params} if call.params else params


def _write_in_savepoint(sql: TagSql, write: Steps[list[Row]], call: Call) -> Steps[Written]:
    """Append inside a savepoint, and roll back to it where a stream is not as expected."""
    yield sql.savepoint, None
    try:
        return (yield from _write_checked(sql, write, call))
    except INTERRUPTED:  # the caller may continue and commit: no part of the call may remain
        with suppress(Exception):  # SQLAlchemy has dropped the connection: nothing on it can be committed
            yield sql.rollback, None
            yield sql.release, None
        raise


def _write_checked(sql: TagSql, write: Steps[list[Row]], call: Call) -> Steps[Written]:
    entries, repeatable = call.entries, call.repeatable
    rows: list[Row] = []
    duplicate: Exception | None = None
    try:
        rows = yield from write
    except psycopg.Error as error:
        if not repeatable or _constraint(error) != sql.unique_id:
            raise
        duplicate = error
    changed = call.decision is not None and is_changed(rows)
    if duplicate is None and not changed and not (wrong := _unexpected(entries, rows)):
        yield sql.release, None
        return Written(_appended(entries, rows), rows)
    yield sql.rollback, None
    yield sql.release, None
    if repeatable and (known := (yield sql.places, _ids(entries))):
        return Written(_repeated(entries, known), [])
    if duplicate:  # committed since this transaction's snapshot was taken
        raise duplicate
    if call.decision is not None and changed:
        raise (yield from conflict_steps(sql, call.decision, stream=entries[0].stream))
    if len(entries) > 1:  # the statement locked all rows and returned them: these are the versions
        raise _conflict(wrong[0], [(stream, version - _count(entries, stream)) for stream, version, *_ in rows])
    raise _conflict(wrong[0], (yield sql.versions, _names(entries)))


def _names(entries: list[Entry]) -> dict[str, Any]:
    return {"streams": text_array(entry.stream for entry in entries)}


def _ids(entries: list[Entry]) -> dict[str, Any]:
    return {"ids": plain_array(event_id.hex for entry in entries for event_id in entry.ids)}


def _count(entries: list[Entry], stream: str) -> int:
    return next(len(entry.events) for entry in entries if entry.stream == stream)


def _appended(entries: list[Entry], rows: list[Row]) -> list[Appended]:
    if is_enabled():
        metrics.APPENDED.add(sum(len(entry.events) for entry in entries))
    if len(rows) == 1:
        return [Appended(entries[0].stream, rows[0][1], rows[0][2], entries[0].ids)]
    last: dict[str, tuple[int, int]] = {}
    for stream, version, position, *_ in rows:  # of each stream, or of each of its events
        last[stream] = version, max(position or 0, last.get(stream, (0, 0))[1])
    return [Appended(entry.stream, *last[entry.stream], entry.ids) for entry in entries if entry.events]


def _unexpected(entries: list[Entry], rows: list[Row]) -> list[Entry]:
    """Return the entries whose stream was not as expected: no row came back, or another version."""
    versions = {stream: version for stream, version, *_ in rows}
    return [
        entry
        for entry in entries
        if entry.stream not in versions
        or (entry.expected is not None and versions[entry.stream] - len(entry.events) != entry.expected)
    ]


def _conflict(entry: Entry, versions: list[Row]) -> ConcurrencyError:
    metrics.CONFLICTS.add(1)
    actual: int | None = next((version for stream, version in versions if stream == entry.stream), 0)
    if actual == entry.expected:
        actual = None  # it reached this version after the statement
    return ConcurrencyError(entry.stream, entry.expected or 0, actual)


def _repeated(entries: list[Entry], known: list[Row]) -> list[Appended]:
    """Return the result of an earlier call with the same ids; raise DuplicateEventId if that call was another one."""
    places = {event_id: (stream, version, position) for event_id, stream, version, position in known}
    entries = [entry for entry in entries if entry.events]
    for entry in entries:
        found = [places.get(str(event_id)) for event_id in entry.ids]
        first = entry.expected + 1 if entry.expected is not None else found[0][1] if found[0] else 0
        for version, (event_id, place) in enumerate(zip(entry.ids, found, strict=True), first):
            if place is None or place[:2] != (entry.stream, version):
                raise DuplicateEventId(_elsewhere(entry, event_id, version, places))
    last = [places[str(entry.ids[-1])] for entry in entries]
    return [Appended(entry.stream, place[1], place[2], entry.ids) for entry, place in zip(entries, last, strict=True)]


def _elsewhere(entry: Entry, event_id: UUID, version: int, places: dict[str, tuple[str, int, int]]) -> str:
    there = "; ".join(f"{known} is version {place[1]} of {place[0]!r}" for known, place in list(places.items())[:3])
    wanted = f"as version {version} of" if version else "in"
    return (
        f"event {event_id} was to be written {wanted} {entry.stream!r}, but of this call's ids {there}: "
        "nothing was written; an id belongs to one event for ever, so give new events new ids"
    )


def _constraint(error: psycopg.Error) -> str | None:
    return error.diag.constraint_name if isinstance(error, errors.UniqueViolation) else None


def cause(error: psycopg.Error | DBAPIError) -> BaseException | None:
    """Return the driver's error."""
    return error.orig if isinstance(error, DBAPIError) else error


def fail(error: psycopg.Error | DBAPIError, entries: list[Entry]) -> NoReturn:
    """Raise eventkit's error for a driver's; a lock or statement timeout that the caller set is raised unchanged."""
    match cause(error):
        case errors.SerializationFailure():
            expected = entries[0].expected if len(entries) == 1 else None
            raise ConcurrencyError(_shown(entries), expected, None, transaction_usable=False) from error
        case errors.DeadlockDetected():
            raise AppendDeadlock(
                f"PostgreSQL ended this transaction to resolve a deadlock while it appended to {_shown(entries)}: roll "
                "back and retry it whole; transactions that change the same rows and append do not deadlock if all of "
                "them use one order"
            ) from error
        case errors.UniqueViolation(diag=diag) if diag.constraint_name == "events_id_key":
            raise DuplicateEventId(
                f"an event id of this call is already in the store: {diag.message_detail}"
            ) from error
        case errors.UniqueViolation(diag=diag) if diag.constraint_name == "events_stream_version_key":
            raise StorageError(
                f"tables streams and events disagree about {_shown(entries)}, which only a manual change can cause: "
                f"{diag.message_detail}"
            ) from error
        case errors.CheckViolation(diag=diag) if diag.constraint_name == "streams_closed_check":
            raise StreamClosed(
                f"a stream of this call is closed, its events are archived ({_shown(entries)}): roll back; "
                "`eventkit events restore` opens it again"
            ) from error
        case errors.LockNotAvailable() | errors.QueryCanceled():
            raise error
    with database_errors():
        raise error
    raise error


def _shown(entries: list[Entry]) -> str:
    more = len(entries) - _MAX_STREAMS_SHOWN
    named = ", ".join(entry.stream for entry in entries[:_MAX_STREAMS_SHOWN])
    return named + (f" and {more} more" if more > 0 else "")
