"""Checks a session before the relay or a projector uses it: on a primary, not shared, with this version's tables.

Each refusal is one sentence with the values in it. Identities must be ahead of their columns, and that of `events` must
have no cache: a session that draws positions ahead would use them out of order.
"""

import logging
from collections.abc import Callable
from typing import Any

import psycopg

from eventkit.errors import NotPrimary, SchemaMismatch
from eventkit.storage.db.identity_columns import GENERATIONS, identity_problems
from eventkit.storage.db.sql_text import quoted
from eventkit.storage.tables import REVISIONS, VERSION_TABLE

logger = logging.getLogger("eventkit.storage")

OLDEST_RELEASE = 15
_warned: set[str] = set()

Another = Callable[[], psycopg.Connection[Any]]
"""Opens one more session at the same address."""

_SERVER = """select pg_is_in_recovery(), current_setting('server_version_num')::int / 10000,
       to_regclass(%(events)s) is not null, current_database(), current_user,
       array(select c.relname::text from pg_class c join pg_class e on e.oid = to_regclass(%(events)s)
              where c.relnamespace = e.relnamespace and c.relowner = e.relowner
                and c.relrowsecurity and row_security_active(c.oid) order by 1)"""


def check_session(connection: psycopg.Connection[Any], schema: str, *, shared: bool = False) -> None:
    """Refuse a session that would lose or reorder events, and tables of another version."""
    with connection.transaction():
        _check_server(connection, schema)
        for problem in identity_problems(connection, schema):
            if (problem.table, problem.column) != GENERATIONS or not problem.is_behind:
                raise SchemaMismatch(problem.sentence)
            _warn_once(f"{problem.sentence}; until then a new projection or rebuild draws again and again")
    if shared:
        raise NotPrimary(
            f"{connection.info.host}:{connection.info.port} is a pooler that shares sessions between its clients "
            "(PgBouncer's pool_mode=transaction), which breaks session locks: connect to PostgreSQL directly, "
            "or with pool_mode=session"
        )


def _warn_once(sentence: str) -> None:
    """Warn once in this process, however many sessions it opens."""
    if sentence not in _warned:
        _warned.add(sentence)
        logger.warning("%s", sentence)


def _check_server(connection: psycopg.Connection[Any], schema: str) -> None:
    """Check the server and the revision."""
    row = connection.execute(_SERVER, {"events": f"{quoted(schema)}.events"}).fetchone()
    recovering, release, has_events, database, user, hidden = row or (True, 0, False, "", "", [])
    if recovering:
        raise NotPrimary(f"the server of {database!r} is a standby: eventkit needs the primary; correct the URL")
    if release < OLDEST_RELEASE:
        raise SchemaMismatch(f"PostgreSQL {release} is too old: eventkit needs {OLDEST_RELEASE} or later")
    if not has_events:
        raise SchemaMismatch(
            f"database {database!r} has no eventkit tables in schema {schema!r}: run `eventkit db upgrade`"
        )
    if hidden:
        raise SchemaMismatch(_row_security(user, schema, hidden))
    at = revisions(connection, schema)  # none where a service's own alembic has run eventkit's migrations
    if at and (problem := revision_problem(schema, at)):
        raise SchemaMismatch(problem)


def _row_security(user: str, schema: str, tables: list[str]) -> str:
    named = ", ".join(tables)
    disable = "; ".join(f"alter table {quoted(schema)}.{table} disable row level security" for table in tables)
    return (
        f"row-level security of {named} in schema {schema!r} hides rows from role {user!r}, and eventkit would leave "
        f"them out without an error: grants protect these tables, so run `{disable}`"
    )


def revisions(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return the revisions in eventkit's version table; an empty list where there is no such table."""
    there = connection.execute("select to_regclass(%s) is not null", [f"{quoted(schema)}.{VERSION_TABLE}"]).fetchone()
    if there != (True,):
        return []
    rows = connection.execute(f'select version_num from "{schema}".{VERSION_TABLE} order by 1').fetchall()
    return [revision for (revision,) in rows]


def revision_problem(schema: str, present: list[str]) -> str | None:
    """Return the problem with a database's revisions as a sentence; None where there is none."""
    unknown = [revision for revision in present if revision not in REVISIONS]
    if unknown:
        return (
            f"schema {schema!r} is at revision {', '.join(unknown)}, newer than this eventkit, which knows "
            f"{REVISIONS[-1]}: install the version of eventkit that upgraded the database"
        )
    if present != [REVISIONS[-1]]:
        at = ", ".join(present)
        return f"schema {schema!r} is at {at}, this eventkit needs {REVISIONS[-1]}: run `eventkit db upgrade`"
    return None


def is_shared(connection: psycopg.Connection[Any], another: Another) -> bool:
    """Return whether a pooler gives two open sessions one server process."""
    if (pid := _pid(connection)) == connection.info.backend_pid:
        return False
    with another() as second, second.transaction():
        return _pid(second) == pid or _pid(connection) != pid


def _pid(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
