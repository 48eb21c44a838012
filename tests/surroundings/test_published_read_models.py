"""A read model that is published by logical replication: a rebuild brings a subscriber its rows, and no shadow."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import RebuildRefused
from eventkit.storage import migrate
from eventkit.storage.projections.shadow_tables import is_lost
from tests.projection.rebuild.test_rebuild import execute, rebuild
from tests.projection.recorded import record
from tests.projection.shop import CREATE, apply, orders, rows, totals
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

TOTALS = "select customer, orders, amount from totals order by 1"


def autocommitted(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


@pytest.fixture
def publisher(postgres: PostgresServer, database_url: str) -> Iterator[str]:
    """A database with the read model, all of whose tables are published, and a watcher's slot, as a connector has."""
    slot = f"watch_{secrets.token_hex(4)}"
    autocommitted(
        database_url,
        CREATE,
        "create publication everything for all tables",
        f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    yield database_url
    autocommitted(
        database_url,
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()",
    )
    postgres.drop(database_url)


@pytest.fixture
def subscriber(postgres: PostgresServer, publisher: str) -> Iterator[str]:
    """A database that subscribes to all of it; its tables are the same."""
    url, name = postgres.fresh(), f"sub_{secrets.token_hex(4)}"
    autocommitted(publisher, f"select pg_create_logical_replication_slot('{name}', 'pgoutput')")
    source = make_conninfo(publisher)
    autocommitted(
        url,
        CREATE,
        f"create subscription {name} connection '{source}' publication everything "
        f"with (create_slot = false, slot_name = '{name}', copy_data = false)",
    )
    yield url
    autocommitted(
        url,
        f"alter subscription {name} disable",
        f"alter subscription {name} set (slot_name = none)",
        f"drop subscription {name}",
    )
    active = "select from pg_replication_slots where slot_name = %s and active"
    with psycopg.connect(publisher, autocommit=True) as session:
        wait_until(lambda: not session.execute(active, [name]).fetchall(), timeout=60, what="the subscriber to leave")


def test_a_subscriber_has_the_rebuilt_rows_and_sees_no_shadow(publisher: str, subscriber: str) -> None:
    """Rows that were wrong, missing or too much are repaired on both sides, and replication continues afterwards."""
    record(publisher, orders("order-1", 3), orders("order-2", 1, customer="bob"), orders("order-3", 1, customer="eve"))
    apply(publisher, orders("order-1", 3), orders("order-2", 1, customer="bob"))
    execute(
        publisher, "insert into totals values ('gone', 1, 1)", "update totals set amount = 99 where customer = 'ann'"
    )
    wait_until(lambda: rows(subscriber, TOTALS) == rows(publisher, TOTALS), timeout=60, what="the first rows")

    done = rebuild(publisher)

    right = [("ann", 3, 3), ("bob", 1, 1), ("eve", 1, 1)]
    assert (done.merged, rows(publisher, TOTALS)) == (3, right)
    wait_until(lambda: rows(subscriber, TOTALS) == right, timeout=60, what="the subscriber's rows")
    record(publisher, orders("order-4", 1, customer="zoe"))
    apply(publisher, orders("order-4", 1, customer="zoe"))
    wait_until(lambda: len(rows(subscriber, TOTALS)) == 4, timeout=60, what="replication to go on")
    seen = tables_seen(publisher)
    assert "public.totals" in seen
    assert not [table for table in seen if "_rebuild_" in table]


def tables_seen(publisher: str) -> set[str]:
    """Return the tables that the watcher's slot has named: a change of one comes after a message with its name."""
    slot = (
        "(select slot_name from pg_replication_slots where slot_name like 'watch%' and database = current_database())"
    )
    options = "'proto_version', '1', 'publication_names', 'everything'"
    changes: list[tuple[bytes]] = rows(
        publisher, f"select data from pg_logical_slot_get_binary_changes({slot}, null, null, {options})"
    )
    return {
        ".".join(name.decode() for name in data[5:].split(b"\0")[:2]) for (data,) in changes if data.startswith(b"R")
    }


def test_a_shadow_that_a_crash_has_emptied_is_not_resumed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checkpoints are still there, its rows are not: `--resume` feeds it from the start."""
    with EmbeddedPostgres() as server:
        server.create_database("published")
        url = server.database_url("published")

        migrate.upgrade(url)
        autocommitted(url, CREATE, "create publication everything for all tables")
        record(url, orders("order-1", 3), orders("order-2", 1, customer="bob"))
        with monkeypatch.context() as broken:
            broken.setattr("eventkit.projection.rebuild.rebuild.RebuildRun._swap", refuse)
            with pytest.raises(RebuildRefused):
                rebuild(url)
        shadow = rows(url, "select shadow from eventkit.rebuilds")[0][0]
        assert rows(url, f'select count(*) from "{shadow}".totals') == [(2,)]
        server.crash()
        server.restart()
        with psycopg.connect(url) as session:
            assert is_lost(session, shadow)

        with caplog.at_level("INFO"):
            done = rebuild(url, resume=True)

        assert "a crash of the server has emptied the shadow" in caplog.text
        assert done.merged == 2
        assert rows(url, TOTALS) == [("ann", 3, 3), ("bob", 1, 1)]


def refuse(*_: object) -> None:
    """End a rebuild before its swap."""
    raise RebuildRefused("ended by the test")


def test_a_published_table_without_a_key_is_refused_before_anything_is_fed(database_url: str) -> None:
    """Its rows could not be merged in the end."""
    execute(database_url, CREATE.replace(" primary key", ""), "create publication everything for all tables")
    record(database_url, orders("order-1", 3))

    with pytest.raises(RebuildRefused, match="cannot be merged: it has no primary key"):
        rebuild(database_url, totals())
    assert rows(database_url, "select count(*) from eventkit.rebuilds") == [(0,)]
