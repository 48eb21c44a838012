"""A role, a database and an environment with the worst settings do not change the behaviour of our own sessions."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from eventkit import EventStore
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import SchemaMismatch, StorageError
from eventkit.storage import migrate
from eventkit.storage.db.connection import connect
from eventkit.storage.db.session_settings import SETTINGS
from eventkit.storage.outbox.leases import Lease
from eventkit.storage.outbox.part_leases import Parts
from eventkit.storage.outbox.settlement import Settlement
from eventkit.testing.databases import Databases
from eventkit.testing.traces import Traces
from tests.cli.test_db import eventkit
from tests.process import ROOT, EventkitProcess
from tests.projection.shop import CREATE, Ordered, shop
from tests.servers.postgres import PostgresServer, binaries, by_tcp, default_release
from tests.surroundings.hostile import LIMITS, LIMITS_SINCE_17, MANNERS, SANE, make_hostile, set_for
from tests.waiting import wait_until

ROLE = "hostile"
PATH = "nowhere, evil, pg_catalog, public"

EVIL = """
create schema evil;
create function evil.clock_timestamp() returns timestamptz language sql as
  $$ select '1999-01-01'::timestamptz $$;
create function evil.to_regclass(text) returns regclass language sql as 'select null::regclass';
"""
STYLES = """
import asyncio, sys, asyncpg, psycopg
from eventkit.storage.db.connection import NotedConnection
from tests.storage.db.service_drivers import asyncpg_options
async def style(url):
    connection = await asyncpg.connect(**asyncpg_options(url))
    return await connection.fetchval("show DateStyle")
url = sys.argv[1]
ours, own = (kind.connect(url).info.parameter_status("DateStyle") for kind in (NotedConnection, psycopg.Connection))
print(own, asyncio.run(style(url)), ours, sep="; ")
"""
_RENEWED = """update {s}.leases set expires_at = clock_timestamp() + interval '8 s'
               where name = %(name)s and epoch = %(epoch)s"""
ROWS = (
    """insert into eventkit.dead_letters (parked_by, stream, version, event_id, type, cause, error, attempts)
       values ('relay', 'order-1', 1, gen_random_uuid(), 'Ordered', 'refused', 'x', 1)""",
    """insert into eventkit.timers (stream, name, due_at, event_id, source, topic, shard, type, schema_version, data,
                                    metadata)
       values ('order-1', 'late', '2099-01-01', gen_random_uuid(), 'shop', 'shop.order', 1, 'Late', 1, '{}', '{}')""",
    """create role eventkit_maintenance nologin; grant usage on schema eventkit to eventkit_maintenance;
       grant select, delete on eventkit.events to eventkit_maintenance""",
)
COMMANDS = (
    ("db", "upgrade"),
    ("db", "verify"),
    ("db", "current"),
    ("doctor",),
    ("dead-letters", "list"),
    ("dead-letters", "log"),
    ("timers", "list"),
    ("projection", "list"),
    ("events", "sizes"),
    ("events", "prune", "--sent", "--older-than", "0s", "--dry-run"),
    ("inbox", "prune", "--older-than", "1d"),
    ("privacy", "forget", "ann", "--yes"),
    ("privacy", "status"),
)


@pytest.fixture
def hostile_url(postgres: PostgresServer, database_url: str) -> Iterator[str]:
    """The address of a migrated database for a role that has everything set to the worst."""
    run(database_url, f"create role {ROLE} login superuser", EVIL)
    set_for(database_url, ROLE, {**LIMITS, **LIMITS_SINCE_17, **MANNERS}, search_path=PATH)
    yield make_url(database_url).set(username=ROLE).render_as_string(hide_password=False)
    postgres.drop(database_url)
    run(postgres.url, f"drop role {ROLE}", "drop role if exists eventkit_maintenance")


def hostile_url_of_others(url: str) -> str:
    """Return the same database's address for the tests' own role."""
    return make_url(url).set(username="postgres").render_as_string(hide_password=False)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Return rows as the tests' own role reads them."""
    with psycopg.connect(url) as session:
        return session.execute(query.encode()).fetchall()


def run(url: str, *statements: str) -> None:
    """Run statements as the tests' own role."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def settings(session: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the settings in force in a session."""
    return dict(session.execute("select lower(name), current_setting(name) from pg_settings").fetchall())


@pytest.mark.both_postgres
@pytest.mark.parametrize("schema", ["eventkit", None])
def test_every_setting_of_our_sessions_is_our_own(database_url: str, hostile_url: str, schema: str | None) -> None:
    """Limits of a millisecond end nothing, modes and formats are those that the code expects, the planner is whole."""
    by_network = by_tcp(hostile_url, database_url)  # a socket has no keepalives
    for _ in range(5):
        with connect(by_network, name="test", schema=schema, options={"lock_timeout": "3s"}) as session:
            found = settings(session)
            time.sleep(0.01)  # longer than the role's limits
            looked = session.execute("show search_path").fetchone()

    wanted = {name.lower(): value for name, value in SETTINGS.items() if name.lower() in found}
    wanted |= {"lock_timeout": "3s", "synchronous_commit": "on"}
    wanted |= {
        name: "on" for name in found if name.startswith("enable_") and not name.startswith("enable_partitionwise")
    }
    assert {name: found[name] for name in wanted} == wanted
    assert looked == ("nowhere, evil, public",)  # the role's, behind PostgreSQL's own names


def test_the_environment_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGOPTIONS keeps its search path; formats, zones, encodings and limits of the environment give way to ours."""
    monkeypatch.setenv("PGOPTIONS", "-c search_path=mine,public -c DateStyle=German -c statement_timeout=1")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGGEQO", "off")

    with connect(database_url, name="test") as session:
        found = settings(session)
        text = session.execute("select '10 €, 東京'").fetchone()

    assert text == ("10 €, 東京",)
    assert [found[name] for name in ("search_path", "datestyle", "timezone", "statement_timeout")] == [
        "mine,public", "ISO, MDY", "UTC", "0",
    ]  # fmt: skip


def test_a_synchronous_commit_that_waits_for_more_stays(database_url: str) -> None:
    """`off` and `local` are raised; a role that waits for its standbys still does."""
    database = make_url(database_url).database
    found = []
    for value in ("off", "local", "remote_write", "remote_apply"):
        run(database_url, f"alter database {database} set synchronous_commit = {value}")
        with connect(database_url, name="test") as session:
            found.append(settings(session)["synchronous_commit"])

    assert found == ["on", "on", "remote_write", "remote_apply"]


def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer) -> None:
    """One sentence names the encoding and says how to make a database that can hold events."""
    name = "test_ascii"
    run(postgres.url, f"drop database if exists {name}")
    run(postgres.url, f"create database {name} encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'")
    url = make_url(postgres.url).set(database=name).render_as_string(hide_password=False)

    for attempt in (lambda: migrate.upgrade(url), lambda: migrate.current(url), lambda: connect(url, name="test")):
        with pytest.raises(SchemaMismatch, match=r"'test_ascii' is encoded in SQL_ASCII.*createdb -E UTF8"):
            attempt()
    run(postgres.url, f"drop database {name}")


def test_a_setting_that_the_role_may_not_take_back_is_named_with_the_grant(
    postgres: PostgresServer, database_url: str
) -> None:
    """As `session_replication_role = replica`, under which no trigger of eventkit or of a read model would fire."""
    role, database = "modest", make_url(database_url).database
    run(database_url, f"create role {role} login", f"alter database {database} set session_replication_role = replica")
    modest = make_url(database_url).set(username=role).render_as_string(hide_password=False)

    with pytest.raises(StorageError, match=r"role 'modest'.*session_replication_role.*grant set on parameter"):
        connect(modest, name="test", schema=None)
    run(database_url, f"grant set on parameter session_replication_role to {role}")
    with connect(modest, name="test", schema=None) as session:
        assert settings(session)["session_replication_role"] == "origin"

    run(database_url, f"revoke set on parameter session_replication_role from {role}")
    run(postgres.url, f"drop role {role}")


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_no_term_is_lost_by_the_role_s_isolation(database_url: str, isolation: str) -> None:
    """Renewals beside settlements, both of which touch the lease's row, never fail to serialize."""
    database = make_url(database_url).database
    run(database_url, f"alter database {database} set default_transaction_isolation = '{isolation}'")
    with (
        connect(database_url, name="lease", autocommit=True) as mine,
        connect(database_url, name="settlement", autocommit=True) as settling,
    ):
        lease = Lease(mine, "eventkit", name="relay 0/1", owner="test")
        assert lease.acquire(lambda: False)
        settlement = Settlement(settling, "eventkit", parts=Parts({0: lease.epoch}))
        ended = threading.Event()
        failures: list[BaseException] = []

        def settle() -> None:
            try:
                while not ended.is_set():
                    settlement.settle([1, 2, 3])
            except BaseException as error:  # noqa: BLE001 checked below
                failures.append(error)

        worker = threading.Thread(target=settle)
        worker.start()
        for _ in range(200):
            assert lease._execute(_RENEWED, epoch=lease.epoch).rowcount == 1
        ended.set()
        worker.join()
        lease.release()

    assert not failures


@pytest.mark.parametrize("release", [15, 18])
def test_databases_for_tests_are_made_on_a_hostile_server(release: int) -> None:
    """The embedded server and the test databases of `eventkit.testing` work under limits of a millisecond."""
    settings = {**LIMITS, "DateStyle": "German"}
    with EmbeddedPostgres(binaries=binaries(release).folder, settings=settings, durable=False) as server:
        databases = Databases(server.url)
        made = (databases.fresh(), server.create_database("mine"), server.tcp_url())
        applied = migrate.current(made[0])
        recorded = Traces(shop, made[0], None).rows(sa.select(sa.func.now().label("now")))
        databases.drop(made[0])
        databases.close()
        server.drop_database("mine")

    assert applied
    assert recorded


def test_a_hostile_run_reaches_the_sessions_of_eventkit_and_no_others() -> None:
    """Whole suites (`python -m tests.surroundings.hostile`) would prove nothing with sane sessions of eventkit."""
    with EmbeddedPostgres(binaries=binaries(default_release()).folder, durable=False) as server:
        make_hostile(server.url)
        command, environment = [sys.executable, "-c", STYLES, server.url], {**os.environ, "PYTHONPATH": str(SANE)}
        found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout.split("; ") == ["ISO, MDY", "ISO, MDY", "German, DMY\n"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_under_a_hostile_role(hostile_url: str, command: tuple[str, ...]) -> None:
    """Each ends as under any other role, though the role's limits are a millisecond and its formats are foreign."""
    run(hostile_url_of_others(hostile_url), *ROWS)

    done = eventkit(*command, url=hostile_url)

    expected = 1 if command == ("doctor",) else 0  # it names the dead letter that is there
    assert (done.returncode, "Traceback" in done.stderr) == (expected, False), done.stdout + done.stderr


def test_the_workers_under_a_hostile_role(hostile_url: str, tmp_path: Path) -> None:
    """Events that a service appends are relayed and applied by processes whose role is hostile."""
    url = hostile_url_of_others(hostile_url)
    run(url, CREATE)
    with psycopg.connect(url) as service:
        for number in range(1, 21):
            EventStore(shop).append(service, shop.stream("order", number), Ordered(f"customer {number % 3}", number))
    with EmbeddedKafka() as kafka:
        kafka.create_topic("shop.order")
        with EventkitProcess(hostile_url, kafka.url, tmp_path / "relay", "relay", "run"):
            wait_until(lambda: rows(url, "select count(*) from eventkit.outbox") == [(0,)], what="the outbox to empty")
        words = ("projector", "run", "tests.projection.read_models:totals", "--from", "store")
        with EventkitProcess(hostile_url, kafka.url, tmp_path / "projector", *words):
            wait_until(lambda: rows(url, "select sum(amount) from totals") == [(210,)], what="all events to be applied")
    rebuilt = eventkit("projection", "rebuild", "tests.projection.read_models:totals", url=hostile_url)

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert rows(url, "select sum(amount), count(*) from totals") == [(210, 3)]
