"""The settings of eventkit's own sessions: all that a role, a database, a server or the environment may have changed.

They are sent twice: at the connection's start, because a time limit of a role could end the session before its first
statement; and by a statement after it, because PGTZ and PGDATESTYLE are applied later and a pooler may drop settings.
The search path of the role or the URL stays, because it finds the tables of read models; only `pg_catalog` comes first.
`synchronous_commit` is raised to `on` and never lowered. A caller's session is not changed.
"""

import logging
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import Conninfo

from eventkit.errors import SchemaMismatch, StorageError

logger = logging.getLogger("eventkit.session")

# Set at the start, because each of these could end a session or its first statement.
STARTING = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "max_parallel_workers_per_gather": "0",  # a parallel worker begins with the role's limits, which may end it
}
TRANSACTION_LIMIT = {"transaction_timeout": "0"}
TRANSACTION_LIMIT_SINCE = 170_000  # older servers refuse a session that names it at its start

SETTINGS = {
    **STARTING,
    **TRANSACTION_LIMIT,
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "check_function_bodies": "on",
    "exit_on_error": "off",  # else an error inside a savepoint would end the session
    "session_replication_role": "origin",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "vacuum_cost_delay": "0",  # the vacuum after a forgotten key
    "default_table_access_method": "heap",
    "client_min_messages": "notice",
    "plan_cache_mode": "auto",
    "jit": "off",
    "join_collapse_limit": "8",
    "from_collapse_limit": "8",
    "force_parallel_mode": "off",  # the name before 16
    "debug_parallel_query": "off",
    # A client machine that lost its power holds its locks until the server notices: in ten seconds, not two hours.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "5",
    "tcp_user_timeout": "10000",
}

# Only settings that differ: without the right, a role may not even repeat the value of `session_replication_role`. The
# planner's switches are those of the server's release.
_APPLY = """select pg_catalog.set_config(name, value, false)
  from unnest(%(names)s::text[], %(values)s::text[]) s(name, value)
 where pg_catalog.current_setting(name, true) is distinct from value
   and (pg_catalog.current_setting(name, true) is not null or name like '%%.%%')
union all
select pg_catalog.set_config('synchronous_commit', 'on', false)
 where pg_catalog.current_setting('synchronous_commit') in ('off', 'local')
union all
select pg_catalog.set_config(name, boot_val, false) from pg_catalog.pg_settings
 where name like 'enable\\_%%' and setting <> boot_val and name <> all(%(names)s::text[])"""

# The settings of the role and the database, the more specific one last, as PostgreSQL applies them.
_STORED = """select setting from pg_catalog.pg_db_role_setting r, pg_catalog.unnest(r.setconfig) setting
 where setdatabase in (0, (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))
   and setrole in (0, (select oid from pg_catalog.pg_roles where rolname = session_user))
 order by setrole <> 0, setdatabase <> 0"""

_ESCAPED_SPACE = "\\ "
_reported: set[frozenset[str]] = set()


def starting_options(given: str | None, server_version: int = 0) -> str:
    """Return `options` for the connection's start: those of the URL or PGOPTIONS, then eventkit's, which win."""
    before = given if given is not None else _from_environment()
    ours = {**STARTING, **(TRANSACTION_LIMIT if server_version >= TRANSACTION_LIMIT_SINCE else {})}
    switches = [f"-c {name}={value.replace(' ', _ESCAPED_SPACE)}" for name, value in ours.items()]
    return " ".join([before, *switches]).strip()


def apply(connection: psycopg.Connection[Any], options: Mapping[str, str]) -> None:
    """Apply eventkit's settings and `options`, on an autocommit connection; log overruled settings of the role."""
    _refuse_encoding(connection)
    wanted = {**SETTINGS, **options}
    if path := _without_catalog(connection):  # first: it may resolve names in the next statements wrongly
        connection.execute("select pg_catalog.set_config('search_path', %s, false)", [path])
    try:
        connection.execute(_APPLY, {"names": list(wanted), "values": list(wanted.values())})
    except errors.InsufficientPrivilege as error:
        raise _refused_setting(connection, error) from error
    _report_overruled(connection, wanted)


def stored_settings(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the settings of this role and this database (`alter role … set`), by name."""
    pairs = (setting.partition("=") for (setting,) in connection.execute(_STORED).fetchall())
    return {name: value for name, _, value in pairs}


def _refused_setting(connection: psycopg.Connection[Any], error: psycopg.Error) -> StorageError:
    user, database = connection.info.user, connection.info.dbname
    return StorageError(
        f"role {user!r} cannot take back a setting of its own or of database {database!r} "
        f"({error.diag.message_primary}), under which triggers and checks would not run: a superuser allows it with "
        "`grant set on parameter session_replication_role to …`, or resets the setting (`alter role|database … reset`)"
    )


def _refuse_encoding(connection: psycopg.Connection[Any]) -> None:
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    if encoding != "UTF8":
        raise SchemaMismatch(
            f"database {connection.info.dbname!r} is encoded in {encoding}, and events are text of any language: "
            "create a database with encoding UTF8 (`createdb -E UTF8 -T template0 …`) and give its URL"
        )


def _without_catalog(connection: psycopg.Connection[Any]) -> str | None:
    """Return the search path without `pg_catalog`, which PostgreSQL then searches first; None where it is not named."""
    row = connection.execute("show search_path").fetchone()
    names = [name.strip() for name in (row[0] if row else "").split(",")]
    kept = [name for name in names if name.strip('"') != "pg_catalog"]
    return None if kept == names else ", ".join(kept) or '""'


def _report_overruled(connection: psycopg.Connection[Any], wanted: Mapping[str, str]) -> None:
    """Log, once a process, the time limits and modes of the role or the database that eventkit's settings overrule."""
    stored = stored_settings(connection)
    limits = {name: wanted[name] for name in (STARTING | TRANSACTION_LIMIT) if name in stored}
    overruled = frozenset(f"{name} = {stored[name]}" for name, ours in limits.items() if stored[name] != ours)
    if overruled and overruled not in _reported:
        _reported.add(overruled)
        logger.info("%s: set for the role or the database, not in force here", ", ".join(sorted(overruled)))


def _from_environment() -> str:
    """Return PGOPTIONS as libpq reads it."""
    found = next((option.val for option in Conninfo.get_defaults() if option.keyword == b"options"), None)
    return found.decode() if found else ""
