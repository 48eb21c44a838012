"""Whose fault an error is: the event's (park), another transaction's (again), the server's, the deployment's (stop).

An innocent event must never be parked. Only two kinds of error speak of the event's own data: SQLSTATE classes 22 and
23, and what the handler itself raises (a `raise` in the service's own SQL functions is one: class P0). A deadlock says
nothing about the event, nor does a full disk, a column that was dropped, or an API that is down.
"""

from contextlib import suppress
from enum import Enum, auto
from urllib.error import HTTPError

import psycopg
import sqlalchemy as sa

from eventkit.errors import (
    AppendDeadlock,
    ConcurrencyError,
    ConfigurationError,
    DatabaseUnavailable,
    DuplicateEventId,
    EventkitError,
    NewerSchema,
    NotPrimary,
    ProjectionError,
    RebuildRefused,
    ReplyRefused,
    SchemaMismatch,
    StorageError,
    StreamClosed,
    SubjectForgotten,
    SubjectKeyMissing,
    TransportError,
    TryLater,
    UndecodableEvent,
    VersionMismatch,
)
from eventkit.projection.define import OneRowError
from eventkit.projection.dispatch import Handler, handler_of
from eventkit.projection.failure.error_place import place_of
from eventkit.projection.retry_policy import links
from eventkit.storage.db import translated as meaning_of
from eventkit.worker import PASSING

NOT_KEPT = "not kept: it may hold personal data"
_LONGEST = 10_000  # characters: an error may show the whole of a statement's parameters


class ErrorClass(Enum):
    """Whom to hold responsible."""

    EVENT = auto()
    CONTENTION = auto()  # another transaction: again at once
    SERVER = auto()  # our database: a new connection
    DEPLOYMENT = auto()  # tables, rights, settings: the projection stops until somebody has mended them
    AWAY = auto()  # something that a handler calls: its streams wait


# Of several errors in a group: an innocent event must not be parked, and a poisoned one must not make others wait.
_GRAVEST = (ErrorClass.SERVER, ErrorClass.DEPLOYMENT, ErrorClass.CONTENTION, ErrorClass.EVENT, ErrorClass.AWAY)

_OF_EVENTS = ("22", "23", "P0")
_CONTENTION = ("40", "55P03")
_SERVER = (
    "08",
    "25P03",
    "25P04",
    "53",
    "57P",
    "58",
    "XX",
)  # connection, time limits of a session, resources, shutdown, system
_LASTING = ("53400",)  # a configured limit: nothing that passes by itself
_OURS = (ConfigurationError, StorageError, TransportError, VersionMismatch, RebuildRefused)
_PLAIN = (
    NewerSchema,
    ConcurrencyError,
    DuplicateEventId,
    StreamClosed,
    SubjectForgotten,
    SubjectKeyMissing,
    ReplyRefused,
)
# what an append of a handler, or the opening of personal data, may say
_OF_APPENDS = {
    ConcurrencyError: ErrorClass.CONTENTION,
    AppendDeadlock: ErrorClass.CONTENTION,
    DuplicateEventId: ErrorClass.EVENT,
    SubjectForgotten: ErrorClass.EVENT,
    SubjectKeyMissing: ErrorClass.EVENT,  # anybody may write a subject's name into an event
    StreamClosed: ErrorClass.EVENT,
}
_LIMITS = {  # the settings of PostgreSQL behind what ends a statement or a session
    "57014": "statement_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}
_ABSENCES = (OSError, MemoryError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
_OF_CLIENTS = {  # absences that derive from none of these; no need to have the client
    "aiohttp.client_exceptions.ClientConnectionError",
    "httpx.TransportError",
    "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError",
    "urllib3.exceptions.MaxRetryError",
    "urllib3.exceptions.ProtocolError",
    "urllib3.exceptions.TimeoutError",
}
_TIME_LIMIT = "57014"  # of a statement
_BAD = 400  # the first status of HTTP that says that something went wrong
_UNDERSTOOD = range(400, 500)  # an answer of HTTP that speaks of the request itself ...
_NOT_OF_THE_REQUEST = {401, 403, 407, 408, 425, 429}  # ... but for logins, time and rates


def classify_error(error: Exception, *, own_transaction: bool = True) -> ErrorClass:
    """Return whose fault an error in a batch is.

    `ours`: whether the batch's own transaction was broken by it. Where it was not, a database error is that of another
    connection, which a handler has. The policy of the handler that raised the error says which others are waited for.
    """
    return _of(error, handler_of(error), own_transaction=own_transaction)


def _of(error: BaseException, handler: Handler | None, *, own_transaction: bool) -> ErrorClass:
    if isinstance(error, BaseExceptionGroup):
        found = {_of(each, handler, own_transaction=own_transaction) for each in error.exceptions}
        return next(error_class for error_class in _GRAVEST if error_class in found)
    cause = database_error(error, own_transaction=own_transaction)
    named = _named(error, handler, cause, own_transaction=own_transaction)
    if named is not None:
        return named
    if isinstance(error, _OURS):
        if isinstance(error, PASSING) and not own_transaction and handler:
            return ErrorClass.AWAY
        return _OF_APPENDS.get(type(error), ErrorClass.DEPLOYMENT)
    if cause is not None and not isinstance(error, OneRowError):
        return _of_database(cause, own_transaction=own_transaction)
    return ErrorClass.AWAY if handler and _is_of_surroundings(error) else ErrorClass.EVENT


def _named(
    error: BaseException, handler: Handler | None, cause: psycopg.Error | None, *, own_transaction: bool
) -> ErrorClass | None:
    """Return what the handler's policy, or the handler itself by TryLater, says of an error.

    A policy does not say whose fault an error of the batch's own transaction is, nor one of classes 22 and 23.
    """
    if isinstance(error, TryLater):
        return ErrorClass.AWAY if handler else ErrorClass.DEPLOYMENT
    if handler is None or (cause is not None and (own_transaction or (cause.sqlstate or "").startswith(_OF_EVENTS))):
        return None
    waits = handler.retry.waits_for(error)
    return None if waits is None else ErrorClass.AWAY if waits else ErrorClass.EVENT


def _of_database(cause: psycopg.Error, *, own_transaction: bool) -> ErrorClass:
    state = cause.sqlstate
    if state is None:
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return (
            (ErrorClass.SERVER if own_transaction else ErrorClass.AWAY) if lost else ErrorClass.EVENT
        )  # else the client's: a wrong parameter
    if state.startswith(_OF_EVENTS):
        return ErrorClass.EVENT
    if state.startswith(_CONTENTION):
        return ErrorClass.CONTENTION
    if state == "25006" or (state.startswith(_SERVER) and state not in _LASTING):
        return ErrorClass.SERVER if own_transaction else ErrorClass.AWAY
    return ErrorClass.AWAY if state == _TIME_LIMIT and not own_transaction else ErrorClass.DEPLOYMENT


def _is_of_surroundings(error: BaseException) -> bool:
    """Whether an error is one of a network, a file system, memory or a time limit; also another database's.

    What it was raised from (`raise … from`) counts. A library may wrap the answer of HTTP in an error of its own.
    """
    for link in links(error):
        status = _http_status(link)
        if status:
            return status not in _UNDERSTOOD or status in _NOT_OF_THE_REQUEST
        if isinstance(link, OSError) and isinstance(link, ValueError):
            return False  # requests' and io's way to say that an argument is wrong
        if isinstance(link, _ABSENCES) or any(_full_name(kind) in _OF_CLIENTS for kind in type(link).__mro__):
            return True
        if isinstance(link, BaseExceptionGroup):
            return all(map(_is_of_surroundings, link.exceptions))
    return False


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _http_status(error: BaseException) -> int:
    """Return the status in an error of urllib, requests, httpx or aiohttp that speaks of a bad one; 0 for others."""
    found = None
    with suppress(Exception):  # another library's properties may raise anything
        if isinstance(error, HTTPError):
            found = error.code
        elif hasattr(error, "request_info"):
            found = getattr(error, "status", None)
        else:
            found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) and found >= _BAD else 0


def database_error(error: BaseException, *, own_transaction: bool = True) -> psycopg.Error | None:
    """Return the driver's error in an error, also where SQLAlchemy or a handler has wrapped it.

    An error that a handler raises after it has dealt with another (in a savepoint) is its own, unless it says `from`.
    """
    link: BaseException | None = error
    seen: list[BaseException] = []  # an error that is raised again may have itself among its causes
    while link is not None and link not in seen:
        if isinstance(link, psycopg.Error):
            return link
        seen.append(link)
        if isinstance(link, sa.exc.DBAPIError) and link.orig is not None:
            link = link.orig
        else:
            link = link.__cause__ or (link.__context__ if own_transaction else None)
    return None


def is_lock_timeout(error: Exception) -> bool:
    """Whether an error says that a lock was not to be had in time."""
    cause = database_error(error)
    return cause is not None and cause.sqlstate == "55P03"


def translated(error: Exception) -> Exception:
    """Return the error of ours that a server's or the deployment's error is."""
    cause = database_error(error)
    if isinstance(error, EventkitError) or cause is None:
        return error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    place, state = place_of(error), cause.sqlstate
    said = f"{text}{f' (SQLSTATE {state})' if state else ''}{f' at {place}' if place else ''}"
    if state in _LIMITS:
        limit, kind = _LIMITS[state], ProjectionError if state == "57014" else DatabaseUnavailable
        return kind(
            f"PostgreSQL has ended work of the projection: {said}; raise {limit} for this role or database, if it is "
            "set there, or the projection's `timeout=`"
        )
    if state == "25006":
        return NotPrimary(f"the database of the read models is read-only ({said}): give the primary's URL")
    if classify_error(error) in (ErrorClass.SERVER, ErrorClass.CONTENTION):
        return meaning_of(cause) or DatabaseUnavailable(f"lost the database of the read models: {said}")
    if "eventkit" in text or state == "3F000":
        return SchemaMismatch(f"{said}: run `eventkit db upgrade` on this database")
    return ProjectionError(
        f"{said}: the tables, rights or settings are not as the projection's code expects; it goes on when they are"
    )


def said(error: Exception) -> str:
    """Return what may be said of an error anywhere: what it is, PostgreSQL's code for it, and the place in the code.

    What the error itself says may quote the event or the read model. Only errors of ours that name no more than streams
    and versions are given whole.
    """
    kind = type(error).__name__
    if isinstance(error, _PLAIN):
        return f"{kind}: {error}"
    place = place_of(error)
    cause = database_error(error)
    state = f" (SQLSTATE {cause.sqlstate} {cause.diag.constraint_name or ''}".rstrip() + ")" if cause else ""
    return f"{kind}{state}{f' at {place}' if place else ''}"


def detail(error: Exception, *, private: bool) -> str:
    """Return what an error itself says, for a place that is masked; `private` where it may hold personal data."""
    return NOT_KEPT if private else str(error)[:_LONGEST]


def cause_of(error: Exception) -> str:
    """Return the cause to write on a dead letter."""
    if isinstance(error, NewerSchema):
        return "newer schema"
    return "undecodable" if isinstance(error, UndecodableEvent | SubjectKeyMissing) else "failed"
