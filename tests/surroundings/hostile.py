"""The worst that a role may have set, and a command that runs whole suites of tests under it.

    python -m tests.surroundings.hostile tests/storage tests/projection tests/cli

Each role on the servers of these tests has the settings, so each session of eventkit begins under them, in the tests'
process and in the processes that they start. The tests' own sessions take the limits back (`sane/sitecustomize.py`), as
a service must that works under such a role. `hostile_report` names the tests that are left out.
A test that starts a PostgreSQL of its own, such as a standby, runs without the settings.
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

LIMITS = {
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
}
LIMITS_SINCE_17 = {"transaction_timeout": "1ms"}
MANNERS = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "check_function_bodies": "off",
    "exit_on_error": "on",
    "session_replication_role": "replica",
    "plan_cache_mode": "force_generic_plan",
    "jit": "on",
    "join_collapse_limit": "1",
    "from_collapse_limit": "1",
    "force_parallel_mode": "on",
    "debug_parallel_query": "on",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_sort": "off",
    "enable_hashagg": "off",
    "client_min_messages": "debug1",
    "work_mem": "64kB",
    "random_page_cost": "10000",
    "seq_page_cost": "0",
    "cpu_index_tuple_cost": "10000",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "min_parallel_index_scan_size": "0",
    "track_activities": "off",
    "stats_fetch_consistency": "snapshot",
    "vacuum_cost_delay": "100ms",
    "vacuum_cost_limit": "1",
    "gin_fuzzy_search_limit": "1",
    "xmloption": "document",
    "timezone_abbreviations": "India",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
}
_PLANNER = ("enable_", "jit", "force_parallel", "debug_parallel", "work_mem", "random_", "seq_", "cpu_", "parallel_")
_SLOW = (*_PLANNER, "min_parallel_", "client_min", "vacuum_", "track_")
# Whole suites run without settings that slow them down or hide sessions from the tests, and without
# `transaction_timeout`: psycopg cannot take it back at the start of a session whose server may be older than 17.
FOR_SUITES = {
    **LIMITS,
    **{name: value for name, value in MANNERS.items() if not name.startswith(_SLOW)},
}
PATH = '"$user", nowhere, public, pg_catalog'
ENVIRONMENT = "EVENTKIT_TEST_HOSTILE"
SANE = Path(__file__).parent / "sane"


def set_for(url: str, role: str | None, settings: dict[str, str], *, search_path: str | None = None) -> None:
    """Set all that this release knows for a role; for each role if it is None."""
    whom = sql.SQL("all") if role is None else sql.Identifier(role)
    with psycopg.connect(url, autocommit=True, options="-c client_min_messages=warning") as session:
        known = {name.lower() for (name,) in session.execute("select name from pg_settings")}
        for name, value in settings.items():
            if name.lower() in known:
                statement = sql.SQL("alter role {} set {} = {}")
                session.execute(statement.format(whom, sql.Identifier(name), sql.Literal(value)))
        if search_path is not None:
            session.execute(sql.SQL("alter role {} set search_path = {}").format(whom, sql.SQL(search_path)))


def make_hostile(url: str) -> None:
    """Make a server hostile to each role."""
    with psycopg.connect(url) as session:
        # A role that cannot take it back is refused, see `test_hostile_role`.
        session.execute("grant set on parameter session_replication_role to public")
    set_for(url, None, FOR_SUITES, search_path=PATH)


def main() -> int:
    """Run pytest with the arguments under hostile settings."""
    path = os.pathsep.join(filter(None, [str(SANE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, ENVIRONMENT: "1", "PYTHONPATH": path, "PGTZ": "Asia/Kathmandu"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.surroundings.hostile_report", *sys.argv[1:]]
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main())
