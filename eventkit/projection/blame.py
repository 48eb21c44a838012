"""Whose fault an error is: the event's (park), another transaction's (again), the server's or set-up's (stop).

An innocent event must never be parked: a deadlock, a serialization failure, a lock timeout, a lost connection, a full
disk or a missing table say nothing about it.
"""

import traceback
from enum import Enum, auto
from pathlib import Path

import psycopg
import sqlalchemy as sa

from eventkit.errors import (
    AppendDeadlock,
    ConcurrencyError,
    ConfigurationError,
    DatabaseUnavailable,
    DuplicateEventId,
    NewerSchema,
    NotPrimary,
    ProjectionError,
    RebuildRefused,
    SchemaMismatch,
    StorageError,
    StreamClosed,
    SubjectForgotten,
    TransportError,
    UndecodableEvent,
    VersionMismatch,
)
from eventkit.storage.connection import translated as meaning_of

_LIBRARIES = (str(Path(__file__).parents[1]), "site-packages")  # frames there say nothing of the handler's place


NOT_KEPT = "not kept: it may hold personal data"
_LONGEST = 10_000  # characters: an error may show the whole of a statement's parameters


class Blame(Enum):
    """Whom to hold responsible."""

    EVENT = auto()
    RIVAL = auto()
    SERVER = auto()
    SETUP = auto()


_RIVAL = ("40001", "40P01", "55P03")
_SERVER = ("08", "53", "57", "58", "XX")  # connection, resources, shutdown and cancel, system, internal
_SETUP = ("42P01", "42501", "3F000", "3D000", "28000", "28P01")  # no table, no right, no schema, no database, no login
_OURS = (ConfigurationError, StorageError, TransportError, VersionMismatch, RebuildRefused)
_PLAIN = (NewerSchema, ConcurrencyError, DuplicateEventId, StreamClosed, SubjectForgotten)
# what the append of a handler may say
_OF_APPENDS = {
    ConcurrencyError: Blame.RIVAL,
    AppendDeadlock: Blame.RIVAL,
    DuplicateEventId: Blame.EVENT,
    SubjectForgotten: Blame.EVENT,
    StreamClosed: Blame.EVENT,
}


def blame(error: Exception) -> Blame:
    """Return whose fault an error in a batch is."""
    if isinstance(error, _OURS):
        return _OF_APPENDS.get(type(error), Blame.SETUP)
    cause = database_error(error)
    if cause is None:
        return Blame.EVENT
    state = cause.sqlstate or ""
    if state in _RIVAL:
        return Blame.RIVAL
    if state in _SETUP:
        return Blame.SETUP
    if (
        state == "25006"
        or state.startswith(_SERVER)
        or (not state and isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError))
    ):
        return Blame.SERVER
    return Blame.EVENT


def database_error(error: BaseException) -> psycopg.Error | None:
    """Return the driver's error in an error, also where SQLAlchemy or a handler has wrapped it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, psycopg.Error):
            return seen
        seen = (
            seen.orig
            if isinstance(seen, sa.exc.DBAPIError) and seen.orig is not None
            else seen.__cause__ or seen.__context__
        )
    return None


def translated(error: Exception) -> Exception:
    """Return the error of ours that a server's or the set-up's error is."""
    cause = database_error(error)
    if isinstance(error, _OURS) or cause is None:
        return error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if cause.sqlstate == "25006":
        return NotPrimary(f"the database of the read models is read-only ({text}): give the primary's URL")
    if blame(error) is Blame.SERVER:
        return meaning_of(cause) or DatabaseUnavailable(f"lost the database of the read models: {text}")
    if "eventkit" in text or cause.sqlstate == "3F000":
        return SchemaMismatch(f"{text}: run `eventkit db upgrade` on this database")
    return ProjectionError(f"{text}: the projection's table or its rights are not as its code expects")


def said(error: Exception) -> str:
    """Return what may be said of an error anywhere: what it is, PostgreSQL's code for it, and the place in the code.

    What the error itself says may quote the event or the read model. Only errors of ours that name no more than streams
    and versions are given whole.
    """
    kind = type(error).__name__
    if isinstance(error, _PLAIN):
        return f"{kind}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not any(part in frame.filename for part in _LIBRARIES)] or frames
    place = f" at {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
    cause = database_error(error)
    state = f" (SQLSTATE {cause.sqlstate} {cause.diag.constraint_name or ''}".rstrip() + ")" if cause else ""
    return f"{kind}{state}{place}"


def detail(error: Exception, *, private: bool) -> str:
    """Return what an error itself says, for a place that is masked; `private` where it may hold personal data."""
    return NOT_KEPT if private else str(error)[:_LONGEST]


def cause_of(error: Exception) -> str:
    """Return the cause to write on a dead letter."""
    if isinstance(error, NewerSchema):
        return "newer schema"
    return "undecodable" if isinstance(error, UndecodableEvent) else "failed"
