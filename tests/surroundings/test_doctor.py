"""The findings of `doctor` around a database: slots, encodings, groups, held topics, servers without an identity."""

import json
import secrets
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis as client
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from eventkit.cli import main
from eventkit.insights import database_checks
from eventkit.storage.db.connection import connect
from eventkit.storage.schema.installation import refuse_moved
from eventkit.transports.redis.topics import stream_key
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.surroundings.rig import category, execute, order, projected, relayed, totals

Findings = dict[str, dict[str, object]]


def findings(url: str, broker: str | None = None) -> Findings:
    """Return the findings of the doctor, by setting."""
    urls = {"EVENTKIT_DATABASE_URL": url, "EVENTKIT_TRANSPORT_URL": broker}
    found = json.loads(CliRunner().invoke(main, ["doctor", "--json"], env=urls).stdout)["findings"]
    return {each["setting"]: each for each in found}


@pytest.fixture
def slot(url: str) -> Iterator[str]:
    """The name of a slot that the test makes."""
    name = f"slot_{secrets.token_hex(4)}"
    yield name
    execute(url, f"select pg_drop_replication_slot('{name}')")


def test_a_slot_whose_reader_is_gone_is_a_fault(url: str, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the write-ahead log until the disk is full."""
    monkeypatch.setattr(database_checks, "_MAX_RETAINED", 0)
    execute(url, f"select pg_create_physical_replication_slot('{slot}', true)")
    order(url, "order", 1)

    finding = findings(url)[f"slot {slot}"]

    assert (finding["safe"], str(finding["found"]).startswith("physical, inactive, keeps")) == (False, True)


def test_a_foreign_logical_slot_is_reported(url: str, slot: str) -> None:
    """No fault while it keeps little."""
    execute(url, f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')")

    finding = findings(url)[f"slot {slot}"]

    assert (finding["safe"], finding["reason"]) == (True, "an inactive slot keeps the write-ahead log")


def test_a_database_in_another_encoding_is_a_fault(postgres: PostgresServer) -> None:
    """Named, with the remedy."""
    name = f"test_{secrets.token_hex(4)}"
    execute(postgres.url, f"create database {name} encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'")
    try:
        finding = findings(make_url(postgres.url).set(database=name).render_as_string(hide_password=False))["database"]
    finally:
        execute(postgres.url, f"drop database {name}")

    assert (finding["safe"], "encoded in LATIN1" in str(finding["found"])) == (False, True)


def test_a_group_left_by_a_deleted_projection_is_reported(url: str) -> None:
    """Until the next start of a projector removes it."""
    execute(url, "insert into eventkit.groups values ('gone.1.2', 'redis', 'gone', '{}', now())")

    finding = findings(url)["group gone.1.2"]

    assert (finding["safe"], finding["found"]) == (True, "left by gone at redis")


def test_foreign_groups_on_our_topics_are_reported(url: str, redis: RedisServer) -> None:
    """Ours is none of them."""
    name = category(redis.url)
    order(url, name, 1)
    relayed(url, redis.url)
    projected(url, redis.url, totals(name))
    with client.Redis.from_url(redis.url) as session:
        session.xgroup_create(stream_key(f"shop.{name}", 0), "warehouse")

    finding = findings(url, redis.url)["groups of others"]

    assert (finding["safe"], finding["found"]) == (True, "warehouse")


def test_a_read_model_that_nobody_runs_is_named(url: str) -> None:
    """Its events wait; it is a fault when they have waited for long."""
    order(url, "order", 1)
    projected(url, None, totals("order"))
    order(url, "order", 2)

    finding = findings(url)["projection totals"]

    assert str(finding["found"]).startswith("1 events behind")
    assert "no projector of it is connected here" in str(finding["reason"])

    state = '{"projections": {"totals": {}}}'
    columns = "id, role, name, host, pid, version, started_at, state"
    values = f"gen_random_uuid(), 'projector', 'totals', 'here', 1, '1', now(), '{state}'"
    execute(url, f"insert into eventkit.processes ({columns}) values ({values})")
    assert "projection totals" not in findings(url)  # by the heartbeat: a session's name may be cut


def test_a_topic_that_the_relay_holds_is_a_fault_while_events_wait(url: str) -> None:
    """With the relay's reason, of any kind."""
    name = f"c{uuid.uuid4().hex[:8]}"
    order(url, name, 1)
    execute(url, f"insert into eventkit.held_topics values ('shop.{name}', 'this user may not write to it')")

    held = findings(url)[f"topic shop.{name}"]
    execute(url, "delete from eventkit.outbox")

    assert (held["safe"], held["found"]) == (False, "held by the relay: this user may not write to it")
    assert f"topic shop.{name}" not in findings(url)


def test_a_database_that_was_not_adopted_is_a_fault(url: str) -> None:
    """Nobody may act in it."""
    execute(url, "update eventkit.installation set database_oid = 1")

    assert (findings(url)["installation"]["safe"], "db adopt" in str(findings(url)["installation"]["reason"])) == (
        False,
        True,
    )


@pytest.fixture
def managed(postgres: PostgresServer, url: str) -> Iterator[str]:
    """The address of a server that hides its identifier, as managed ones do."""
    role = f"managed_{secrets.token_hex(4)}"
    execute(
        url,
        "revoke execute on function pg_control_system() from public",
        f"create role {role} login",
        f"grant usage on schema eventkit to {role}",
        f"grant select, insert, update, delete on all tables in schema eventkit to {role}",
        "update eventkit.installation set system_identifier = null, database_oid = null, timeline = null",
    )
    yield make_url(url).set(username=role).render_as_string(hide_password=False)
    postgres.drop(url)
    execute(postgres.url, f"drop role {role}")


def test_a_server_without_an_identifier_is_reported_once(managed: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the one who writes down where the installation is; the doctor says it whenever it is asked."""
    for _ in range(2):
        with connect(managed, name="test", autocommit=True) as connection:
            refuse_moved(connection, "eventkit")

    assert caplog.text.count("does not tell its system identifier") == 1
    assert (
        findings(managed)["installation"]["safe"],
        "db adopt" in str(findings(managed)["installation"]["reason"]),
    ) == (
        True,
        True,
    )


def test_another_timeline_is_reported_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A failover may have lost events; nobody stops."""
    execute(url, "update eventkit.installation set timeline = timeline + 1")
    for _ in range(2):
        with psycopg.connect(url, autocommit=True) as connection:
            refuse_moved(connection, "eventkit")

    assert caplog.text.count("went from timeline 2 to 1") == 1
    assert "timeline" not in findings(url)


def test_another_timeline_is_a_remark_until_it_is_acknowledged(url: str) -> None:
    """The doctor changes nothing."""
    execute(url, "update eventkit.installation set timeline = timeline + 1")

    assert findings(url)["timeline"]["safe"] is True
    assert findings(url)["timeline"]["found"] == "1"
