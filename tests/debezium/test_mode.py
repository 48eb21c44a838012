"""The mode, its switch, and the commands that read them; PostgreSQL's own pg_recvlogical reads the slot."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.domain.metadata import Metadata
from eventkit.errors import ArchiveError, StorageError
from eventkit.insights import Insights, database_findings
from eventkit.storage.db import connect
from eventkit.storage.debezium import Mode, Replication, SendAgain, Switch, read_mode, slot_name
from eventkit.storage.outbox import AMENDED, AS_TEXT, GapReader, Outbox, message
from eventkit.storage.retention import Archive
from eventkit.storage.schema import Health, differences
from eventkit.transports import Finding
from tests.faults.shop import Noted, order, reading, shop, store
from tests.servers.postgres import PostgresServer, program
from tests.storage.pruned import maintenance_role, prune
from tests.waiting import wait_until

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"
METADATA = [
    None,
    Metadata(correlation_id="c"),
    Metadata(causation_id="k", traceparent=TRACE),
    Metadata(correlation_id="c", causation_id="k", traceparent=TRACE, tracestate="vendor=1"),
    Metadata(extra={"user": 'Ada "L"\n ü', "deep": {"b": [1, None], "a": 1.5}}),
]
COLUMNS = {
    "specversion": "ce_specversion", "id": "ce_id", "source": "ce_source", "type": "ce_type", "time": "ce_time",
    "streamversion": "ce_streamversion", "contenttype": "content-type", "correlationid": "ce_correlationid",
    "causationid": "ce_causationid", "traceparent": "ce_traceparent", "tracestate": "ce_tracestate",
    "metadata": "ce_metadata", "dataschemaversion": "ce_dataschemaversion",
}  # fmt: skip
LETTERS = {"dataschemaversion": "s", "correlationid": "c", "causationid": "k", "traceparent": "p", "tracestate": "t"}
LETTERS |= {"metadata": "m"}

# The rows that appends insert: a trigger of the test keeps a copy, as the WAL does.
KEEP = """create table kept (like eventkit.debezium_outbox);
create function keep() returns trigger language plpgsql as
  $$ begin insert into public.kept select new.*; return null; end $$;
create trigger keep after insert on eventkit.debezium_outbox for each row execute function keep()"""

Connection = psycopg.Connection[Any]


@pytest.fixture
def admin(database_url: str) -> Iterator[Connection]:
    """A session that looks, and switches; at the end a slot that is left is dropped."""
    with connect(database_url, name="test", autocommit=True) as connection:
        yield connection
        connection.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()"
        )
        wait_until(lambda: _dropped(connection), what="the end of the slot's reader")


def _dropped(connection: Connection) -> bool:
    connection.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
        "where database = current_database() and not active"
    )
    left = connection.execute("select count(*) from pg_replication_slots where database = current_database()")
    return left.fetchone() == (0,)


def put(connection: Connection, mode: str) -> None:
    """Set the mode, without a switch."""
    connection.execute("update eventkit.installation set mode = %s", (mode,))


def note(url: str, key: str = "1", count: int = 1) -> None:
    """Append in a transaction of its own."""
    with psycopg.connect(url) as connection:
        store.append(connection, order(key), *(Noted(number) for number in range(count)))


def counts(connection: Connection) -> tuple[int, int]:
    """Return the numbers of outbox rows and of messages for Debezium."""
    row = connection.execute("select (select count(*) from eventkit.outbox), (select count(*) from kept)").fetchone()
    assert row is not None
    return row[0], row[1]


@contextmanager
def reader(postgres: PostgresServer, url: str, name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Read the slot and confirm it, as Connect does."""
    command = [
        program(postgres, "pg_recvlogical"),
        "-d",
        url,
        "--slot",
        name,
        "--start",
        "--no-loop",
        "-s",
        "1",
        "-F",
        "1",
    ]
    command += ["-o", "proto_version=1", "-o", f"publication_names={name}", "-f", str(folder / "wal")]
    # as a connector's role should have it; a run under hostile settings has them for every role
    without = ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    unlimited = {**os.environ, "PGOPTIONS": " ".join(f"-c {limit}=0" for limit in without)}
    with subprocess.Popen(command, env=unlimited) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(switch: Switch, target: Mode, on_wait: Any = None) -> list[str]:  # noqa: ANN401 a callable
    """Run a switch to its end; return the different reasons for which it waited."""
    said: dict[str, None] = {}

    def step(waits: Iterator[str]) -> bool:
        for reason in waits:
            if reason not in said and on_wait is not None:
                on_wait(reason)
            said[reason] = None
            return False
        return True

    waits = switch.run(target)
    wait_until(lambda: step(waits), timeout=120, what=f"mode {target}, after {list(said)}")
    return list(said)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("relay", (3, 0)), ("to debezium", (3, 3)), ("both", (3, 3)), ("to relay", (3, 3)), ("debezium", (0, 3))],
)
def test_an_append_writes_for_each_side_that_may_have_to_send_it(
    admin: Connection, database_url: str, mode: str, expected: tuple[int, int]
) -> None:
    """One event or several, in the order of their versions; no row for Debezium stays, and the tables verify."""
    admin.execute(KEEP)
    put(admin, mode)

    note(database_url)
    note(database_url, count=2)

    assert counts(admin) == expected
    assert admin.execute("select count(*) from eventkit.debezium_outbox").fetchone() == (0,)
    versions = [row[0] for row in admin.execute("select streamversion from kept order by ctid")]
    assert versions == sorted(versions)
    admin.execute("drop table kept; drop function keep() cascade")
    assert differences(database_url, "eventkit") == []


def test_a_message_for_debezium_has_the_headers_that_the_relay_sends(admin: Connection, database_url: str) -> None:
    """With the same bytes, in any metadata; the route says which of the optional ones are there."""
    admin.execute(KEEP)
    put(admin, "debezium")
    with psycopg.connect(database_url) as writer:
        for nth, metadata in enumerate(METADATA):
            store.append(writer, order(nth), Noted(nth, "ü"), metadata=metadata)

    admin.execute("set timezone = 'UTC'")
    statement = f"select position, 'shop.order', {AS_TEXT} from eventkit.events e {AMENDED} order by position"
    wanted = [message(row) for row in admin.execute(statement.format(s="eventkit").encode())]
    names = ", ".join(COLUMNS)
    rows = admin.execute(f"select route, stream, data, {names} from kept order by position".encode()).fetchall()
    for (route, stream, data, *values), sent in zip(rows, wanted, strict=True):
        letters, _, topic = route.partition(":")
        left_out = {column for column, letter in LETTERS.items() if letter not in letters}
        headers = {COLUMNS[name]: value for name, value in zip(COLUMNS, values, strict=True) if name not in left_out}
        assert (topic, stream, data, headers) == (sent.topic, sent.key, sent.value, dict(sent.headers))


def test_an_append_survives_a_publication_of_all_tables(admin: Connection, database_url: str) -> None:
    """PostgreSQL refuses to delete rows without an identity that another connector publishes."""
    admin.execute("create publication everything for all tables")
    put(admin, "debezium")

    note(database_url)

    assert admin.execute("select count(*) from eventkit.events").fetchone() == (1,)


def test_the_relay_reads_nothing_while_debezium_sends(admin: Connection, database_url: str) -> None:
    """Rows of a mode between wait; in the others they are read."""
    note(database_url)
    found = {}
    for mode in Mode:
        put(admin, mode)
        with reading(database_url) as connection:
            gap_reader = GapReader(Outbox(connection, "eventkit"))
            gap_reader.start_pending()
            found[mode.value] = len(gap_reader.read())

    assert found == {"relay": 1, "to debezium": 1, "both": 1, "to relay": 0, "debezium": 0}


def test_a_switch_waits_for_each_older_transaction_and_for_no_other(
    admin: Connection, database_url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """One that has appended, one that keeps a snapshot, a prepared one; then for the relay, then for a reader."""
    name = slot_name(admin, "eventkit")
    with psycopg.connect(database_url) as writer, psycopg.connect(database_url) as snapshot:
        snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        snapshot.execute("select 1 from eventkit.streams")
        store.append(writer, order("open"), Noted(1))
        with psycopg.connect(database_url) as other:
            store.append(other, order("prepared"), Noted(1))
            other.execute("prepare transaction 'late'")
            other.rollback()
        seen: list[str] = []
        with reader_when(postgres, database_url, name, tmp_path) as start:

            def on_wait(reason: str) -> None:
                seen.append(reason.partition(" ")[0])
                if reason.startswith("3 older"):
                    store.append(snapshot, order("snapshot"), Noted(1))
                    snapshot.commit()
                elif reason.startswith("2 older"):
                    writer.commit()
                elif reason.startswith("1 older"):
                    admin.execute("commit prepared 'late'")
                elif reason.startswith("the relay"):
                    assert read_mode(admin, "eventkit") is Mode.TO_DEBEZIUM
                    admin.execute("delete from eventkit.outbox")  # as the relay does
                elif reason.startswith("nobody"):
                    start()

            reasons = finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM, on_wait)
            assert [reason.partition(" ")[0] for reason in reasons][:3] == ["3", "2", "1"]
            assert any(reason.startswith("the relay has 3") for reason in reasons), reasons
            assert read_mode(admin, "eventkit") is Mode.DEBEZIUM
            note(database_url)
            finish(Switch(admin, "eventkit", actor="me"), Mode.RELAY)

    assert admin.execute("select count(*) from pg_replication_slots where slot_name = %s", (name,)).fetchone() == (0,)
    assert admin.execute("select count(*) from pg_publication").fetchone() == (0,)
    moves = [row[0] for row in admin.execute("select detail from eventkit.operator_actions order by id")]
    assert moves == [
        "relay -> to debezium", "to debezium -> both", "both -> debezium",
        "debezium -> to relay", "to relay -> both", "both -> relay",
    ]  # fmt: skip


@contextmanager
def reader_when(postgres: PostgresServer, url: str, name: str, folder: Path) -> Iterator[Any]:
    """Yield a function that starts a reader, which ends with the block."""
    started: list[Any] = []

    def start() -> None:
        started.append(reader(postgres, url, name, folder))
        started[-1].__enter__()

    try:
        yield start
    finally:
        for each in started:
            each.__exit__(None, None, None)


@pytest.mark.parametrize("mode", ["to debezium", "both"])
def test_a_switch_to_debezium_is_turned_back_at_once(admin: Connection, mode: str) -> None:
    """The relay sends everything in these modes, so nothing is waited for."""
    put(admin, mode)

    assert finish(Switch(admin, "eventkit", actor="me"), Mode.RELAY) == []
    assert read_mode(admin, "eventkit") is Mode.RELAY


def test_a_switch_to_relay_is_turned_back_at_once(admin: Connection, database_url: str) -> None:
    """Debezium sends everything in this mode; the outbox rows of the time between go."""
    put(admin, "to relay")
    note(database_url)

    assert finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM) == []
    assert admin.execute("select count(*) from eventkit.outbox").fetchone() == (0,)


def test_two_switches_do_not_run_at_once(admin: Connection, database_url: str) -> None:
    """The second is refused."""
    Switch(admin, "eventkit", actor="me")

    with connect(database_url, name="second", autocommit=True) as second, pytest.raises(StorageError, match="another"):
        Switch(second, "eventkit", actor="you")


def test_a_slot_that_is_gone_in_between_gives_the_events_back_to_the_relay(admin: Connection) -> None:
    """Nothing is lost, because the relay has sent everything until then."""
    put(admin, "both")

    with pytest.raises(StorageError, match="nothing is lost"):
        finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM)

    assert read_mode(admin, "eventkit") is Mode.RELAY


def test_a_slot_that_is_gone_is_no_way_back_to_the_relay(admin: Connection) -> None:
    """Its place is lost: the error names the remedy, and the mode stays."""
    put(admin, "to relay")

    with pytest.raises(StorageError, match="--again-since"):
        finish(Switch(admin, "eventkit", actor="me"), Mode.RELAY)

    assert read_mode(admin, "eventkit") is Mode.TO_RELAY


def test_events_of_a_lost_slot_are_sent_again_by_the_relay(admin: Connection, database_url: str) -> None:
    """All that are recent enough, in order, to the topics that the catalog names; an unknown catalog is refused."""
    put(admin, "debezium")
    note(database_url, count=3)

    for catalogs in ({}, {"shop": shop}):
        switch = Switch(admin, "eventkit", actor="me", again=SendAgain(timedelta(hours=1), catalogs))
        if not catalogs:
            with pytest.raises(StorageError, match="'shop'"):
                finish(switch, Mode.RELAY)
        else:
            finish(switch, Mode.RELAY)

    assert admin.execute("select count(*) from eventkit.outbox where topic = 'shop.order'").fetchone() == (3,)
    assert read_mode(admin, "eventkit") is Mode.RELAY


@pytest.fixture
def full(admin: Connection) -> Iterator[None]:
    """A server that has no free replication slot."""
    admin.execute(
        """select pg_create_physical_replication_slot('full_' || n) from generate_series(1,
             current_setting('max_replication_slots')::int - (select count(*)::int from pg_replication_slots)) n"""
    )
    yield
    admin.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'full_%%'")


@pytest.mark.usefixtures("full")
def test_a_switch_begins_only_where_the_slot_can_be_created(admin: Connection) -> None:
    """On a server without a free slot the relay sends as before; the error says which setting."""
    with pytest.raises(StorageError, match="max_replication_slots"):
        finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM)

    assert read_mode(admin, "eventkit") is Mode.RELAY


@pytest.mark.parametrize(
    ("rights", "words"),
    [("", "denies a privilege"), ("alter table eventkit.debezium_outbox owner to clerk", "REPLICATION")],
)
def test_a_role_that_may_not_switch_changes_nothing(admin: Connection, rights: str, words: str) -> None:
    """Without the table or the attribute: one sentence, and the relay sends as before."""
    database = admin.info.dbname
    admin.execute(
        f"""create role clerk; grant create on database "{database}" to clerk; grant usage on schema eventkit to clerk;
            grant all on all tables in schema eventkit to clerk; {rights}""".encode()
    )
    admin.execute("set role clerk")
    try:
        with pytest.raises(StorageError, match=words):
            finish(Switch(admin, "eventkit", actor="me"), Mode.DEBEZIUM)
    finally:
        admin.execute("reset role; reassign owned by clerk to current_user; ")
        admin.execute("drop owned by clerk")
        admin.execute("drop role clerk")

    assert read_mode(admin, "eventkit") is Mode.RELAY


def test_a_switch_outlasts_a_transaction_that_is_open_for_long(
    admin: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL creates the slot after it; each attempt has its limit, and then another one begins."""
    monkeypatch.setattr("eventkit.storage.debezium.switch._CREATE_TIME", "50ms")
    with psycopg.connect(database_url) as other:
        other.execute("select pg_current_xact_id()")  # of another service
        waits = iter(Switch(admin, "eventkit", actor="me").run(Mode.DEBEZIUM))
        seen = [next(waits) for _ in range(3)]

    assert {reason.partition(" the ")[0] for reason in seen} == {"PostgreSQL creates"}
    assert admin.execute("show statement_timeout").fetchone() != ("50ms",)


def test_pruning_and_archiving_wait_for_debezium(
    admin: Connection, database_url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """Without an outbox row an event may be unsent: only confirmed events are deleted."""
    replication = Replication(admin, "eventkit", slot_name(admin, "eventkit"))
    replication.publish()
    replication.create()
    put(admin, "debezium")
    note(database_url, count=3)
    with maintenance_role(database_url):
        kept = prune(database_url)
        with pytest.raises(ArchiveError, match="nobody reads"), connect(database_url, name="archive") as session:
            Archive(session, "eventkit", actor="me").close([order("1")], tmp_path / "archive")
        with reader(postgres, database_url, replication.name, tmp_path):
            pruned = wait_until(lambda: prune(database_url), what="the events that were confirmed")

    assert (kept, pruned) == (0, 3)


def test_doctor_and_attention_name_a_slot_that_nobody_reads(
    admin: Connection, database_url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """With its lag, the publication and the limit of the log; a slot that is left is a fault too."""
    replication = Replication(admin, "eventkit", slot_name(admin, "eventkit"))
    replication.publish()
    replication.create()
    assert "while the relay sends" in found(admin)["debezium"].found

    put(admin, "debezium")
    slot = f"debezium slot {replication.name}"
    assert not found(admin)[slot].safe
    [item] = Insights(admin).attention()
    assert (item.code, item.action) == ("debezium_stands", "eventkit doctor")

    with reader(postgres, database_url, replication.name, tmp_path):
        wait_until(lambda: found(admin)[slot].safe, what="the reader")
        assert Insights(admin).attention() == []
    assert found(admin)["debezium publication"].safe
    assert found(admin)["max_slot_wal_keep_size"].found == "no limit"

    replication.unpublish()
    assert not found(admin)["debezium publication"].safe


def found(connection: Connection) -> dict[str, Finding]:
    """Return the findings of doctor about the database, by setting."""
    return {each.setting: each for each in database_findings(Health(connection, "eventkit"))}


def test_each_schema_has_a_slot_of_its_own(admin: Connection) -> None:
    """Schemas whose names a slot's name cannot tell apart would drop each other's slot and publication."""
    schemas = ["eventkit", "shop", "Shop", "a-b", "a_b", "A_b", *(f"{'customer' * 6}_{number}" for number in (1, 2))]
    names = [slot_name(admin, schema) for schema in schemas]

    assert len({*names}) == len(schemas)
    for name in names:
        admin.execute("select pg_create_logical_replication_slot(%s, 'pgoutput', true)", [name])
        admin.execute("select pg_drop_replication_slot(%s)", [name])
    assert names[0].startswith("eventkit_debezium_")
