"""Maps the errors of every driver to psycopg's errors, by the SQLSTATE.

The code that runs statements handles psycopg's errors alone. An error that it does not handle is raised to the caller
as the driver's own.
"""

import sys
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField
from sqlalchemy.exc import DBAPIError

_FIELDS = {
    DiagnosticField.SQLSTATE: "sqlstate",
    DiagnosticField.MESSAGE_PRIMARY: "message",
    DiagnosticField.MESSAGE_DETAIL: "detail",
    DiagnosticField.CONSTRAINT_NAME: "constraint_name",
}


def psycopg_error(error: BaseException | None) -> psycopg.Error | None:
    """Return psycopg's error for an error of a driver, SQLAlchemy or Django; None for any other error."""
    if isinstance(error, psycopg.Error) or error is None:
        return error
    if isinstance(error, DBAPIError):
        return psycopg_error(error.orig)
    if type(error).__module__ == "django.db.utils":
        return psycopg_error(error.__cause__)
    for link in (error, error.__cause__):  # SQLAlchemy's errors for asyncpg are raised from asyncpg's
        if (found := _of_asyncpg(link)) is not None:
            return found
    return None


def _of_asyncpg(error: BaseException | None) -> psycopg.Error | None:
    asyncpg: Any = sys.modules.get("asyncpg")
    if asyncpg is None:
        return None
    if isinstance(error, asyncpg.PostgresError):
        found = _of_server(error)
    elif isinstance(error, ConnectionError) or (isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)):
        found = psycopg.OperationalError(str(error))
    else:
        return None
    found.__cause__ = error
    return found


def _of_server(error: Any) -> psycopg.Error:  # noqa: ANN401 asyncpg may not be there
    try:
        kind = psycopg.errors.lookup(error.sqlstate or "")
    except KeyError:
        kind = psycopg.DatabaseError
    values = {field: getattr(error, name, None) for field, name in _FIELDS.items()}
    return kind(str(error), info={field: str(value).encode() for field, value in values.items() if value is not None})
