"""The append statement and what its outcome means: one statement, one round trip, for any number of events and streams.

It locks the stream rows in order of name and raises their versions, inserts the events, then their outbox rows. A
stream's row is locked before its positions are drawn, so within a stream the order of positions is the order of
versions: the relay leans on that. The steps are written once, for sync and async: a generator that yields statements
and receives rows; `eventkit.storage.db.execute` runs it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn
from uuid import UUID

import msgspec
import psycopg
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import AppendDeadlock, ConcurrencyError, DuplicateEventId, StorageError, StreamClosed
from eventkit.storage.db import INTERRUPTED, Row, Statement, Steps, database_errors, plain_array, text_array
from eventkit.storage.entry import Entry
from eventkit.storage.events.append_sql import ANY_VERSION, AT_VERSION, NEW_STREAM, SourceTopics, kind_of, statement_of
from eventkit.storage.events.decision import (
    Decision,
    conflict_steps,
    is_changed,
    lock_statement,
    tagged_statement,
    tags_of,
)
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.privacy import Encryption

_SHOWN = 5  # streams of a call that an error names


class Expected(Enum):
    """What a stream may be expected to be, besides a version."""

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
    """Where events went: the version and the position of the last, the ids of all."""

    stream: StreamId
    version: int
    position: int
    ids: tuple[UUID, ...]


class Call(NamedTuple):
    """What is to be appended, and under which conditions.

    `repeatable` says that the ids are the caller's and may be there already. Entries without events are guards.
    """

    entries: list[Entry]
    repeatable: bool = False
    decision: Decision | None = None
    params: Mapping[str, Any] = MappingProxyType({})  # of what the statement does besides


class Written(NamedTuple):
    """Where events went, and the rows of the statement; none where an earlier call with the same ids wrote them."""

    appended: list[Appended]
    rows: list[Row]


def append_steps(sql: TagSql, topics: SourceTopics, call: Call, sealing: Encryption) -> Steps[Written]:
    """Append to streams, all or nothing.

    A savepoint stands around what may have to be taken back: several expectations, or ids. That is three round trips
    instead of one. Tags are locked before it, so that their locks outlast a conflict.
    """
    entries = call.entries
    try:
        if topics.has_personal:
            entries = yield from sealing.sealed_entries(topics.name, entries)
        if call.decision is not None:
            yield lock_statement(sql, entries, call.decision)
            # crash point: tags locked, nothing appended -> the caller's transaction is gone, with the locks
        call = call._replace(entries=entries)
        write = _write(sql, topics, call)
        if call.repeatable or (len(entries) > 1 and any(entry.expected is not None for entry in entries)):
            return (yield from _taken_back(sql, write, call))
        rows = yield from write
        if call.decision is not None and is_changed(rows):
            raise (yield from conflict_steps(sql, call.decision, stream=entries[0].stream))
        if rows:
            return Written(_appended(entries, rows), rows)
        raise _conflict(entries[0], (yield sql.versions, _names(entries)))
    except psycopg.Error as error:
        fail(error, entries)


def _write(sql: TagSql, topics: SourceTopics, call: Call) -> Steps[list[Row]]:
    """Write what is as expected; a row for each stream, none where a single one is not."""
    entries, decision = call.entries, call.decision
    tagged = decision is not None or bool(tags_of(entries))

    def statement(kind: int) -> Statement:
        if tagged:
            text, params = tagged_statement(sql, topics, entries, decision, kind)
        else:
            text, params = statement_of(sql, topics, entries, kind)
        return text, {**(params or {}), **call.params} if call.params else params

    kind = kind_of(entries[0]) if len(entries) == 1 else ANY_VERSION
    rows = yield statement(kind)
    if not rows and kind == NEW_STREAM and (entries[0].stream, 0) in (yield sql.versions, _names(entries)):
        rows = yield statement(AT_VERSION)  # a guard has left the stream at version 0
    return rows


def _taken_back(sql: TagSql, write: Steps[list[Row]], call: Call) -> Steps[Written]:
    """Append behind a savepoint, and go back to it where something is not as expected."""
    yield sql.savepoint, None
    try:
        return (yield from _judged(sql, write, call))
    except INTERRUPTED:  # the caller may go on, and commit: a part of the call must not be there
        with suppress(Exception):  # SQLAlchemy has thrown the connection away: nothing of it can be committed
            yield sql.rollback, None
            yield sql.release, None
        raise


def _judged(sql: TagSql, write: Steps[list[Row]], call: Call) -> Steps[Written]:
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
    if len(entries) > 1:  # the rows were locked and all came back: these are the versions
        raise _conflict(wrong[0], [(stream, version - _count(entries, stream)) for stream, version, *_ in rows])
    raise _conflict(wrong[0], (yield sql.versions, _names(entries)))


def _names(entries: list[Entry]) -> dict[str, Any]:
    return {"streams": text_array(entry.stream for entry in entries)}


def _ids(entries: list[Entry]) -> dict[str, Any]:
    return {"ids": plain_array(event_id.hex for entry in entries for event_id in entry.ids)}


def _count(entries: list[Entry], stream: str) -> int:
    return next(len(entry.events) for entry in entries if entry.stream == stream)


def _appended(entries: list[Entry], rows: list[Row]) -> list[Appended]:
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
    actual: int | None = next((version for stream, version in versions if stream == entry.stream), 0)
    if actual == entry.expected:
        actual = None  # it came there since the statement
    return ConcurrencyError(entry.stream, entry.expected or 0, actual)


def _repeated(entries: list[Entry], known: list[Row]) -> list[Appended]:
    """Return what an earlier call with the same ids did, if this is the same call."""
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
        "nothing was written; an id names one event for ever"
    )


def _constraint(error: psycopg.Error) -> str | None:
    return error.diag.constraint_name if isinstance(error, errors.UniqueViolation) else None


def cause(error: psycopg.Error | DBAPIError) -> BaseException | None:
    """Return the driver's error."""
    return error.orig if isinstance(error, DBAPIError) else error


def fail(error: psycopg.Error | DBAPIError, entries: list[Entry]) -> NoReturn:
    """Raise our error for what append knows; a timeout that the caller has set stays as it is."""
    match cause(error):
        case errors.SerializationFailure():
            expected = entries[0].expected if len(entries) == 1 else None
            raise ConcurrencyError(_shown(entries), expected, None, transaction_usable=False) from error
        case errors.DeadlockDetected():
            raise AppendDeadlock(
                f"PostgreSQL ended this transaction to resolve a deadlock while it appended to {_shown(entries)}: roll "
                "back and retry it whole; transactions that change the same rows and append do not deadlock if all of "
                "them do it in one order"
            ) from error
        case errors.UniqueViolation(diag=diag) if diag.constraint_name == "events_id_key":
            raise DuplicateEventId(
                f"an event id of this call is in the store already: {diag.message_detail}"
            ) from error
        case errors.UniqueViolation(diag=diag) if diag.constraint_name == "events_stream_version_key":
            raise StorageError(
                f"tables streams and events disagree about {_shown(entries)}, which only a change by hand can do: "
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
    more = len(entries) - _SHOWN
    return ", ".join(entry.stream for entry in entries[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
