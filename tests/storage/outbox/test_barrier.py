"""A returned page is durable before anybody publishes it, on any server and by any role; the barrier is invisible."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import StorageError
from eventkit.storage import migrate
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.event_log import EventLog
from eventkit.storage.outbox.gap_reader import Ask, GapReader, LogPage
from eventkit.storage.outbox.outbox import READING, Outbox
from tests.faults.shop import note, reading
from tests.servers.postgres import binaries, default_release

Connection = psycopg.Connection[Any]

ROLE = "auditor"
NO_FLUSH_POSITION = """
set allow_system_table_mods = on;
alter function pg_catalog.pg_current_wal_flush_lsn() rename to there_was_pg_current_wal_flush_lsn;
create function pg_catalog.pg_current_wal_flush_lsn() returns pg_lsn language plpgsql volatile as $$
begin raise exception using errcode = '55000', message = 'WAL control functions cannot be executed.'; end $$
"""


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server to crash and to break, with a role that may read and no more."""
    folder = binaries(default_release()).folder
    with EmbeddedPostgres(binaries=folder, settings={"wal_level": "logical"}) as server:
        migrate.upgrade(server.url)
        run(
            server.url,
            f"create role {ROLE} login",
            f"grant usage on schema eventkit to {ROLE}",
            f"grant select on all tables in schema eventkit to {ROLE}",
        )
        yield server


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements; return the rows of the last."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            cursor = session.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def reader_of(server: EmbeddedPostgres, role: str) -> Connection:
    """Connect as a reader of a role."""
    url = make_url(server.url).set(username=role).render_as_string(hide_password=False)
    return connect(url, name="reader", autocommit=True, options=READING)


def first_page(connection: Connection) -> LogPage:
    """Read from the beginning."""
    return EventLog(connection, "eventkit").fetch(Ask(0, True, [], [], [], 100, 100_000))  # noqa: FBT003 struct field


def note_asynchronously(url: str, stream: int) -> None:
    """Commit events that a crash may take back."""
    with psycopg.connect(url) as writer:
        note(writer, stream, 20)
        writer.execute("set local synchronous_commit = off")


@pytest.mark.parametrize("role", ["postgres", ROLE])
def test_a_returned_page_survives_a_crash(own_server: EmbeddedPostgres, role: str) -> None:
    """An asynchronous commit is flushed with the page: by the reader's lock, or by waiting where it may not lock."""
    note_asynchronously(own_server.url, 1)
    with reader_of(own_server, role) as connection:
        page = first_page(connection)
    own_server.crash()
    own_server.restart()

    assert len(page.rows) == 20
    assert run(own_server.url, "select count(*) from eventkit.events") == [(20,)]


def test_a_session_that_holds_a_readers_row_delays_no_other(own_server: EmbeddedPostgres) -> None:
    """A hung reader of the same name may hold the row: the page comes at once, and is as durable."""
    with reader_of(own_server, "postgres") as connection, psycopg.connect(own_server.url) as hung:
        log = EventLog(connection, "eventkit")
        log.fetch(Ask(0, True, [], [], [], 100, 100_000))  # noqa: FBT003 struct field
        hung.execute("select from eventkit.readers for update")
        note_asynchronously(own_server.url, 1)
        connection.execute("set statement_timeout = '60s'")

        page = log.fetch(Ask(0, True, [], [], [], 100, 100_000))  # noqa: FBT003 struct field
    own_server.crash()
    own_server.restart()

    assert len(page.rows) == 20
    assert run(own_server.url, "select count(*) from eventkit.events") == [(20,)]


def test_readers_leave_one_row_behind_however_often_they_start(database_url: str) -> None:
    """A reader takes the row of one that is gone; only those that read at the same time have several."""
    for _ in range(5):
        with reading(database_url) as connection:
            first_page(connection)

    assert run(database_url, "select count(*) from eventkit.readers") == [(1,)]


def test_a_server_that_hides_its_logs_position(own_server: EmbeddedPostgres) -> None:
    """A role that may lock needs no function of the log; for another the error names the missing grant."""
    run(own_server.url, *NO_FLUSH_POSITION.split(";\n"))
    with psycopg.connect(own_server.url) as writer:
        note(writer, 1)

    with reader_of(own_server, "postgres") as connection:
        assert len(first_page(connection).rows) == 1
    with (
        reader_of(own_server, ROLE) as connection,
        pytest.raises(StorageError, match=r"grant select, insert, update on \"eventkit\".readers to it"),
    ):
        first_page(connection)


def test_a_reader_says_nothing_to_other_readers_of_the_log(own_server: EmbeddedPostgres) -> None:
    """Another program's logical replication slot sees the appends, no messages of the reader."""
    run(own_server.url, "create publication theirs for all tables")
    run(own_server.url, "select pg_create_logical_replication_slot('theirs', 'pgoutput')")
    for stream in range(3):
        note_asynchronously(own_server.url, stream)
        with reader_of(own_server, "postgres") as connection:
            first_page(connection)

    options = "'proto_version', '1', 'publication_names', 'theirs', 'messages', 'true'"
    changes = f"pg_logical_slot_get_binary_changes('theirs', null, null, {options})"
    kinds = {kind for (kind,) in run(own_server.url, f"select convert_from(substr(data, 1, 1), 'UTF8') from {changes}")}

    assert "I" in kinds  # of inserts
    assert "M" not in kinds  # of messages


def test_holders_are_read_only_where_they_matter(database_url: str) -> None:
    """Without new rows and without gaps, other sessions' locks are not read, at any number of them."""
    with reading(database_url) as connection, psycopg.connect(database_url) as writer:
        outbox = Outbox(connection, "eventkit")
        ask = Ask(0, True, [], [], [], 10, 10_000)  # noqa: FBT003 struct field
        note(writer, 1)

        unasked = outbox.fetch(ask).holders
        watched = outbox.fetch(Ask(0, True, [], [], [], 10, 10_000, True)).holders  # noqa: FBT003 struct field

    assert not unasked
    assert len(watched) == 1


def test_a_gap_is_watched_while_nothing_new_comes(database_url: str) -> None:
    """An open append below the cursor is read as soon as it has committed, though nobody else appends any more."""
    with reading(database_url) as connection, psycopg.connect(database_url) as writer:
        reader = GapReader(Outbox(connection, "eventkit"))
        reader.start_pending()
        note(writer, 1)
        with psycopg.connect(database_url) as other:
            note(other, 2)
        first = [row for _ in range(20) for row in reader.read()]
        writer.commit()
        then = reader.read()

    assert [row[2] for row in first] == ["order-2"]
    assert [row[2] for row in then] == ["order-1"]
