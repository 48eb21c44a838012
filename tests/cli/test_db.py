"""`eventkit db` and the root of the command line: their output, their exit codes, and one sentence for every error."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from eventkit.storage.tables import REVISIONS
from tests.servers.postgres import PostgresServer

NEWEST = REVISIONS[-1]
SECRET = "hush-7f3a"


def eventkit(*arguments: str, url: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "eventkit.cli", *arguments],
        env={**os.environ, "EVENTKIT_DATABASE_URL": url, "EVENTKIT_SCHEMA": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refused(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Return the one sentence on stderr, without its preamble."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("eventkit: ")
    return lines[0].removeprefix("eventkit: ")


def test_from_nothing_to_the_newest_and_back(empty_database_url: str) -> None:
    """Each command says where the database is, and exits 0 only where all is well."""
    before = eventkit("db", "current", url=empty_database_url)
    upgraded = eventkit("db", "upgrade", url=empty_database_url)
    again = eventkit("db", "upgrade", url=empty_database_url)
    current = eventkit("db", "current", url=empty_database_url)
    verified = eventkit("db", "verify", url=empty_database_url)
    undone = eventkit("db", "downgrade", "base", "--yes", url=empty_database_url)

    advice = f"the newest is {NEWEST}: run `eventkit db upgrade`"
    assert (before.returncode, before.stdout) == (1, f"schema eventkit is at no revision, {advice}\n")
    assert (upgraded.returncode, upgraded.stdout) == (0, f"schema eventkit went from nothing to {NEWEST}\n")
    assert (again.returncode, again.stdout) == (0, f"schema eventkit is at {NEWEST} already\n")
    assert (current.returncode, current.stdout) == (0, f"schema eventkit is at {NEWEST}, the newest\n")
    assert (verified.returncode, verified.stdout) == (0, "schema eventkit is as it must be\n")
    assert (undone.returncode, undone.stdout) == (0, f"schema eventkit went from {NEWEST} to nothing\n")


def test_a_script_reads_json(empty_database_url: str) -> None:
    """`--json` prints one object, with the same exit codes."""
    upgraded = eventkit("--schema", "records", "db", "upgrade", "--json", url=empty_database_url)
    current = eventkit("--schema", "records", "db", "current", "--json", url=empty_database_url)
    verified = eventkit("--schema", "records", "db", "verify", "--json", url=empty_database_url)

    assert json.loads(upgraded.stdout) == {"schema": "records", "before": None, "revision": NEWEST}
    assert json.loads(current.stdout) == {"schema": "records", "revision": NEWEST, "newest": NEWEST}
    assert json.loads(verified.stdout) == {"schema": "records", "differences": [], "notes": []}


def test_verify_prints_differences_and_fails(database_url: str) -> None:
    """A line for each difference, exit code 1."""
    with psycopg.connect(database_url) as session:
        session.execute("drop table eventkit.leases")
        session.execute("alter table eventkit.outbox add column mine int")

    done = eventkit("db", "verify", url=database_url)

    assert done.returncode == 1
    assert done.stdout == "table leases is missing\ncolumn outbox.mine is not ours\n"


def test_a_role_named_like_the_schema_keeps_its_default_schema(postgres: PostgresServer) -> None:
    """`"$user"` would make our schema the role's default one: its tables land where they did; verify says so."""
    with psycopg.connect(postgres.url, autocommit=True) as session:
        session.execute("create role records login")
        session.execute("create database namesake owner records")
    url = make_url(postgres.url).set(username="records", database="namesake").render_as_string(hide_password=False)
    try:
        upgraded = eventkit("--schema", "records", "db", "upgrade", url=url)
        with psycopg.connect(url) as service:
            service.execute("create table orders (id int)")
            service.execute("create table alembic_version (version_num text)")
            found = service.execute("select schemaname from pg_tables where tablename = 'orders'").fetchone()
        verified = eventkit("--schema", "records", "db", "verify", url=url)
    finally:
        postgres.drop(url)
        with psycopg.connect(postgres.url, autocommit=True) as session:
            session.execute("drop role records")

    assert found == ("public",)
    assert "role records has the schema's name" in upgraded.stderr
    assert verified.returncode == 0
    assert verified.stdout.startswith("note: role 'records' has the schema's name: with \"$user\" in its search path")


def test_a_downgrade_asks_first(database_url: str) -> None:
    """Without a yes nothing is undone."""
    done = eventkit("db", "downgrade", url=database_url)

    assert done.returncode == 1
    assert "Undo migrations of schema 'eventkit' down to -1? Its events go with the tables" in done.stderr
    assert eventkit("db", "verify", url=database_url).returncode == 0


def test_sql_needs_no_database() -> None:
    """The statements are printed for an operator, in the requested schema."""
    done = eventkit("--schema", "records", "db", "sql")

    assert done.returncode == 0
    assert done.stdout.startswith("BEGIN;")
    assert "CREATE TABLE records.events" in done.stdout
    assert "eventkit.events" not in done.stdout


def test_a_server_that_is_away_is_one_sentence() -> None:
    """Its address and the remedy; no traceback, no password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for command in ("upgrade", "current", "verify"):
            said = refused(eventkit("db", command, url=f"postgresql://me:{SECRET}@127.0.0.1:{port}/shop"))
            assert said.startswith(f"PostgreSQL at 127.0.0.1:{port}, database 'shop' as 'me' cannot be reached")
            assert SECRET not in said


def test_no_database_is_one_sentence(tmp_path: Path) -> None:
    """It names the setting, and the exit code is that of wrong usage."""
    environment = {
        **os.environ,
        "EVENTKIT_DATABASE_URL": "",
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "eventkit.cli", "db", "upgrade"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused(done, code=2).startswith("no database is given: set EVENTKIT_DATABASE_URL=postgresql://")


def test_a_password_on_the_command_line_is_refused() -> None:
    """The message says where it belongs, and does not repeat it."""
    said = refused(eventkit("--database-url", f"postgresql://me:{SECRET}@host/db", "db", "verify"), code=2)

    assert said.startswith("database_url has a password in an option")
    assert SECRET not in said


def test_a_newer_database_is_left_alone(database_url: str) -> None:
    """Neither upgraded nor downgraded by code that does not know it."""
    with psycopg.connect(database_url) as session:
        session.execute("update eventkit.eventkit_version set version_num = 'eventkit_9999'")

    for arguments in (("upgrade",), ("downgrade", "base", "--yes")):
        said = refused(eventkit("db", *arguments, url=database_url))
        assert "eventkit_9999, newer than this eventkit" in said


def test_an_unknown_revision_is_a_usage_error(database_url: str) -> None:
    """It is named, with those that exist."""
    said = refused(eventkit("db", "upgrade", "eventkit_9999", url=database_url), code=2)

    assert "'eventkit_9999'" in said
    assert NEWEST in said


def test_help_has_examples_and_every_command() -> None:
    """`--help` shows how it is used, at the root and in each command that is there."""
    done = eventkit("--help")

    commands = re.findall(r"^  ([a-z]+)  +[A-Z]", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert done.returncode == 0
    assert "db" in commands
    assert "eventkit db upgrade" in done.stdout
    for command in commands:
        shown = eventkit(command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert f"eventkit {command}" in shown.stdout


def test_the_version_is_the_package_s() -> None:
    """`--version` prints one line."""
    assert re.fullmatch(r"eventkit \d+\.\d+\.\d+\n", eventkit("--version").stdout)


@pytest.mark.parametrize("module", ["alembic", "confluent_kafka", "sqlalchemy", "rich"])
def test_help_loads_nothing_heavy(module: str) -> None:
    """`eventkit --help` answers at once: nothing is loaded that only a command needs."""
    program = f"import sys, eventkit.cli; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
