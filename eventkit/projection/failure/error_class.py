"""Classifies errors: of the event (park), of contention (retry), of the server (reconnect), of the deployment (stop).

An event is parked only for an error that it causes. Two kinds of error count as such: SQLSTATE classes 22 and 23, and
errors that the handler itself raises, including class P0, a `raise` in the service's SQL functions. A deadlock, a full
disk, a dropped column or an unavailable API have other causes.
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
    ProjectionPaused,
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
_MAX_DETAIL = 10_000  # characters; an error may quote all parameters of a statement


class ErrorClass(Enum):
    """The cause of an error, which decides how the projector continues."""

    EVENT = auto()
    CONTENTION = auto()  # another transaction: retry at once
    SERVER = auto()  # the read models' database: reconnect
    DEPLOYMENT = auto()  # tables, rights, settings: the projection stops until they are corrected
    AWAY = auto()  # a service that a handler calls: its streams wait


# A group of errors has the first of these classes that is found in it. So an event is not parked for an error of the
# server, and a failing event does not make others wait.
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
_LASTING = ("53400",)  # a configured limit, which does not pass by itself
_EVENTKIT_ERRORS = (
    ConfigurationError,
    StorageError,
    TransportError,
    VersionMismatch,
    ProjectionPaused,
    RebuildRefused,
)
_SAFE = (  # their messages name only streams and versions
    NewerSchema,
    ConcurrencyError,
    DuplicateEventId,
    StreamClosed,
    SubjectForgotten,
    SubjectKeyMissing,
    ReplyRefused,
)
# errors of an append in a handler, or of decrypting personal data
_OF_APPENDS = {
    ConcurrencyError: ErrorClass.CONTENTION,
    AppendDeadlock: ErrorClass.CONTENTION,
    DuplicateEventId: ErrorClass.EVENT,
    SubjectForgotten: ErrorClass.EVENT,
    SubjectKeyMissing: ErrorClass.EVENT,  # an event may name any subject
    StreamClosed: ErrorClass.EVENT,
}
_LIMITS = {  # the PostgreSQL settings that end a statement or a session
    "57014": "statement_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}
_UNAVAILABLE = (OSError, MemoryError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
_UNAVAILABLE_BY_NAME = {  # by name, so that the client need not be installed
    "aiohttp.client_exceptions.ClientConnectionError",
    "httpx.TransportError",
    "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError",
    "urllib3.exceptions.MaxRetryError",
    "urllib3.exceptions.ProtocolError",
    "urllib3.exceptions.TimeoutError",
}
_QUERY_CANCELED = "57014"
_FIRST_HTTP_ERROR = 400
_REQUEST_ERRORS = range(400, 500)  # HTTP status: the request itself is wrong ...
_SERVICE_ERRORS = {401, 403, 407, 408, 425, 429}  # ... except for login, timeout and rate limit


def classify_error(error: Exception, *, own_transaction: bool = True) -> ErrorClass:
    """Return the class of an error in a batch.

    `own_transaction`: whether the error broke the batch's own transaction. If not, a database error comes from another
    connection that a handler uses. The policy of the handler that raised the error names further errors to wait for.
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
    if isinstance(error, _EVENTKIT_ERRORS):
        if isinstance(error, PASSING) and not own_transaction and handler:
            return ErrorClass.AWAY
        return _OF_APPENDS.get(type(error), ErrorClass.DEPLOYMENT)
    if cause is not None and not isinstance(error, OneRowError):
        return _of_database(cause, own_transaction=own_transaction)
    return ErrorClass.AWAY if handler and _is_unavailable(error) else ErrorClass.EVENT


def _named(
    error: BaseException, handler: Handler | None, cause: psycopg.Error | None, *, own_transaction: bool
) -> ErrorClass | None:
    """Return the class that the handler's policy, or a TryLater, gives to an error; None if neither names it.

    A policy does not apply to errors of the batch's own transaction, nor to SQLSTATE classes 22, 23 and P0.
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
    return ErrorClass.AWAY if state == _QUERY_CANCELED and not own_transaction else ErrorClass.DEPLOYMENT


def _is_unavailable(error: BaseException) -> bool:
    """Whether an error is one of a network, a file system, memory, a time limit or another database.

    Its causes (`raise … from`) count, too: a library may wrap an HTTP response in an error of its own.
    """
    for link in links(error):
        status = _http_status(link)
        if status:
            return status not in _REQUEST_ERRORS or status in _SERVICE_ERRORS
        if isinstance(link, OSError) and isinstance(link, ValueError):
            return False  # requests' and io's way to say that an argument is wrong
        if isinstance(link, _UNAVAILABLE) or any(
            _full_name(kind) in _UNAVAILABLE_BY_NAME for kind in type(link).__mro__
        ):
            return True
        if isinstance(link, BaseExceptionGroup):
            return all(map(_is_unavailable, link.exceptions))
    return False


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _http_status(error: BaseException) -> int:
    """Return the HTTP error status of an error of urllib, requests, httpx or aiohttp; 0 for other errors."""
    found = None
    with suppress(Exception):  # another library's properties may raise anything
        if isinstance(error, HTTPError):
            found = error.code
        elif hasattr(error, "request_info"):
            found = getattr(error, "status", None)
        else:
            found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) and found >= _FIRST_HTTP_ERROR else 0


def database_error(error: BaseException, *, own_transaction: bool = True) -> psycopg.Error | None:
    """Return the driver's error behind an error, also where SQLAlchemy or a handler has wrapped it.

    Without `own_transaction`, only an explicit cause counts (`raise … from`): the handler may have handled the other
    error in a savepoint.
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
    """Whether an error is a lock timeout."""
    cause = database_error(error)
    return cause is not None and cause.sqlstate == "55P03"


def translated(error: Exception) -> Exception:
    """Return the eventkit error for an error of the server or the deployment."""
    cause = database_error(error)
    if isinstance(error, EventkitError) or cause is None:
        return error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    place, state = place_of(error), cause.sqlstate
    description = f"{text}{f' (SQLSTATE {state})' if state else ''}{f' at {place}' if place else ''}"
    if state in _LIMITS:
        limit, kind = _LIMITS[state], ProjectionError if state == "57014" else DatabaseUnavailable
        return kind(
            f"PostgreSQL has ended work of the projection: {description}; raise {limit} for this role or database, if "
            "it is set there, or the projection's `timeout=`"
        )
    if state == "25006":
        return NotPrimary(f"the database of the read models is read-only ({description}): give the primary's URL")
    if classify_error(error) in (ErrorClass.SERVER, ErrorClass.CONTENTION):
        return meaning_of(cause) or DatabaseUnavailable(f"lost the database of the read models: {description}")
    if "eventkit" in text or state == "3F000":
        return SchemaMismatch(f"{description}: run `eventkit db upgrade` on this database")
    return ProjectionError(
        f"{description}: the tables, rights or settings are not as the projection's code expects; it continues when "
        "they are"
    )


def describe(error: Exception) -> str:
    """Return a description that may be shown anywhere: the error's type, its SQLSTATE, and the line of code.

    An error's own message may quote the event or the read model. Only messages that name just streams and versions are
    included.
    """
    kind = type(error).__name__
    if isinstance(error, _SAFE):
        return f"{kind}: {error}"
    place = place_of(error)
    cause = database_error(error)
    state = f" (SQLSTATE {cause.sqlstate} {cause.diag.constraint_name or ''}".rstrip() + ")" if cause else ""
    return f"{kind}{state}{f' at {place}' if place else ''}"


def detail(error: Exception, *, private: bool) -> str:
    """Return an error's own message, for a masked column; a notice instead where it is `private`."""
    return NOT_KEPT if private else str(error)[:_MAX_DETAIL]


def cause_of(error: Exception) -> str:
    """Return the cause for a dead letter."""
    if isinstance(error, NewerSchema):
        return "newer schema"
    return "undecodable" if isinstance(error, UndecodableEvent | SubjectKeyMissing) else "failed"
