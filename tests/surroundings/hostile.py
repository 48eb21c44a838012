"""The worst that a role may have set, and a command that runs whole suites of tests under it.

    python -m tests.surroundings.hostile tests/storage tests/projection tests/cli

The command changes the superuser of the server that the tests start, and takes back by PGOPTIONS those settings that
would end the sessions of the tests themselves. Those are covered by `test_hostile_role`, whose tests have another role.
"""

import os
import subprocess
import sys

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
    "session_replication_role": "replica",
    "plan_cache_mode": "force_generic_plan",
    "jit": "on",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_sort": "off",
    "enable_hashagg": "off",
    "client_min_messages": "debug1",
}
# Not for whole suites: a limit that PGOPTIONS cannot take back on every release, and switches that slow the tests down.
FOR_SUITES = {
    **LIMITS,
    **{name: value for name, value in MANNERS.items() if not name.startswith(("enable_", "jit", "client_min"))},
}
ENVIRONMENT = "EVENTKIT_TEST_HOSTILE"
# The tests' own sessions are those of a caller: they may not be in another encoding than UTF8.
_SURVIVED = {**dict.fromkeys(list(LIMITS)[:4], "0"), "default_transaction_isolation": r"read\ committed",
             "default_transaction_read_only": "off", "client_encoding": "UTF8", "session_replication_role": "origin",
             "client_min_messages": "notice"}  # fmt: skip


def set_for(url: str, role: str, settings: dict[str, str], *, search_path: str | None = None) -> None:
    """Set all that this release knows for a role."""
    with psycopg.connect(url, autocommit=True, options="-c client_min_messages=warning") as session:
        known = {name.lower() for (name,) in session.execute("select name from pg_settings")}
        for name, value in settings.items():
            if name.lower() in known:
                statement = sql.SQL("alter role {} set {} = {}")
                session.execute(statement.format(sql.Identifier(role), sql.Identifier(name), sql.Literal(value)))
        if search_path is not None:
            path = sql.SQL("alter role {} set search_path = {}")
            session.execute(path.format(sql.Identifier(role), sql.SQL(search_path)))


def main() -> int:
    """Run pytest with the arguments under a hostile role."""
    options = " ".join(f"-c {name}={value}" for name, value in _SURVIVED.items())
    environment = {**os.environ, ENVIRONMENT: "1", "PGOPTIONS": options, "PGTZ": "Asia/Kathmandu"}
    return subprocess.call([sys.executable, "-m", "pytest", *sys.argv[1:]], env=environment)


if __name__ == "__main__":
    sys.exit(main())
