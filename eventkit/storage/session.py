"""What a session must be before the relay or a projector may trust it: on a primary, not shared, with our tables.

Each refusal is one sentence with the values in it. The identity of `events` must have no cache: a session that draws
positions ahead would hand them out of order.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from eventkit.errors import NotPrimary, SchemaMismatch
from eventkit.storage.tables import REVISIONS, VERSION_TABLE

OLDEST_RELEASE = 15

Another = Callable[[], psycopg.Connection[Any]]
"""Opens one more session at the same address."""

_SERVER = """select pg_is_in_recovery(), current_setting('server_version_num')::int / 10000,
                    to_regclass(%(events)s) is not null, current_database()"""

IDENTITY = """select s.seqcache, s.seqincrement, s.seqcycle, (select coalesce(max(position), 0) from {s}.events),
                     case when has_sequence_privilege(s.seqrelid, 'SELECT') then s.seqrelid::regclass::text end
                from pg_sequence s where s.seqrelid = pg_get_serial_sequence(%(events)s, 'position')::regclass"""


def check_session(connection: psycopg.Connection[Any], schema: str, *, shared: bool = False) -> None:
    """Refuse a session that would lose or reorder events, and tables that this code does not know."""
    with connection.transaction():
        _check_server(connection, schema)
        for problem in identity_problems(connection, schema):
            raise SchemaMismatch(problem)
    if shared:
        raise NotPrimary(
            f"{connection.info.host}:{connection.info.port} is a pooler that shares sessions between its clients "
            "(PgBouncer's pool_mode=transaction), which breaks session locks: connect to PostgreSQL directly, "
            "or with pool_mode=session"
        )


def _check_server(connection: psycopg.Connection[Any], schema: str) -> None:
    """Check the server and the revision."""
    row = connection.execute(_SERVER, {"events": f'"{schema}".events'}).fetchone()
    recovering, release, has_events, database = row or (True, 0, False, "")
    if recovering:
        raise NotPrimary(
            f"the server of {database!r} is a standby: eventkit works on the primary alone; correct the URL"
        )
    if release < OLDEST_RELEASE:
        raise SchemaMismatch(f"PostgreSQL {release} is too old: eventkit needs {OLDEST_RELEASE} or later")
    if not has_events:
        raise SchemaMismatch(
            f"database {database!r} has no eventkit tables in schema {schema!r}: run `eventkit db upgrade`"
        )
    at = revisions(connection, schema)  # none where a service's own alembic has run our migrations
    if at and (problem := revision_problem(schema, at)):
        raise SchemaMismatch(problem)


def revisions(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return what the version table of our own says, nothing where there is none."""
    there = connection.execute("select to_regclass(%s) is not null", [f'"{schema}".{VERSION_TABLE}']).fetchone()
    if there != (True,):
        return []
    rows = connection.execute(f'select version_num from "{schema}".{VERSION_TABLE} order by 1').fetchall()
    return [revision for (revision,) in rows]


def revision_problem(schema: str, present: list[str]) -> str | None:
    """Say what is wrong with the revisions that a database has, if anything."""
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


def identity_problems(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Say what is wrong with the identity that positions are drawn from."""
    row = connection.execute(IDENTITY.format(s=f'"{schema}"'), {"events": f'"{schema}".events'}).fetchone()
    column, alter = f"{schema}.events.position", f'alter table "{schema}".events alter column position'
    if row is None:
        return [
            f"{column} is no identity column: positions would come in any order; restore it as its migration made it"
        ]
    cache, increment, cycles, highest, sequence = row
    last = (
        _last_drawn(connection, sequence) if sequence else None
    )  # read after `highest`: whoever wrote that had drawn it
    behind = last is not None and last < highest
    found = {
        f"has a cache of {cache}, which reorders events: run `{alter} set cache 1`": cache != 1,
        f"has an increment of {increment}: run `{alter} set increment by 1`": increment != 1,
        f"starts again when it is through: run `{alter} set no cycle`": cycles,
        f"is at {last}, behind the highest position {highest}: run `{alter} restart with {highest + 1}`": behind,
    }
    return [f"the identity of {column} {problem}" for problem, there in found.items() if there]


def _last_drawn(connection: psycopg.Connection[Any], sequence: str) -> int:
    row = connection.execute(f"select last_value - (not is_called)::int from {sequence}").fetchone()
    return int(row[0]) if row else 0


def is_shared(connection: psycopg.Connection[Any], another: Another) -> bool:
    """Return whether a pooler lends the server process of this session to a second one that is there beside it."""
    if (pid := _pid(connection)) == connection.info.backend_pid:
        return False
    with another() as second, second.transaction():
        return _pid(second) == pid or _pid(connection) != pid


def _pid(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
