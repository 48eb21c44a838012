"""The roles of `eventkit db roles`: each does its work with its own grants, and has no others."""

import secrets
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from eventkit import Append, Deadlines, EventStore, Privacy
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.errors import StorageError
from eventkit.storage import migrate
from eventkit.storage.schema.grants import PRIVILEGES, ROLES, TABLES, name_of
from eventkit.storage.schema.roles import create_roles, incomplete, purposes, role_statements
from eventkit.storage.tables import VERSION_TABLE, metadata
from tests.cli.test_db import eventkit
from tests.process import EventkitProcess
from tests.projection.shop import Ordered, shop
from tests.servers.postgres import PostgresServer
from tests.surroundings.roles import Installation, with_roles
from tests.waiting import wait_until

MODELS = "tests.projection.read_models"
store = EventStore(shop)


def append(url: str, *amounts: int) -> None:
    """Append an order of each amount, each to a stream of its own."""
    with psycopg.connect(url) as service:
        for number, amount in enumerate(amounts):
            store.append(service, shop.stream("order", f"{number}-{secrets.token_hex(4)}"), Ordered("ann", amount))


def value(url: str, query: str) -> object:
    """Return one value, read by the tests' own role."""
    with psycopg.connect(url) as session:
        row = session.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_every_table_is_named_in_the_table_of_grants() -> None:
    """A new table is granted to some role, or none of eventkit's roles can use it."""
    assert set(TABLES) == {table.name for table in metadata().sorted_tables} | {VERSION_TABLE}
    assert all(set(grants) <= set(ROLES) for grants in TABLES.values())


def test_each_role_has_its_grants_and_no_others(installation: Installation) -> None:
    """Of each table and privilege, a role has exactly the grants of the table of grants; the owner has all."""
    query = "select has_table_privilege(%s, format('eventkit.%%I', %s::text), %s)"
    with psycopg.connect(installation.url) as session:
        for role in ROLES:
            name = name_of(role, installation.prefix)
            for table, grants in TABLES.items():
                for letter, privilege in PRIVILEGES.items():
                    own = grants.get(role, "") + (grants.get("maintenance", "") if role == "operator" else "")
                    wanted = role == "owner" or letter in own
                    found = session.execute(query, [name, table, privilege]).fetchone()
                    assert found == (wanted,), f"{role}: {privilege} on {table}"


def test_missing_and_excess_grants_are_named_and_repaired(installation: Installation) -> None:
    """A second run has nothing to do; a grant that was lost or added shows as the statement that repairs it."""
    relay, writer = name_of("relay", installation.prefix), name_of("writer", installation.prefix)
    with psycopg.connect(installation.url, autocommit=True) as session:
        assert role_statements(session, "eventkit", installation.prefix) == []
        session.execute(f"revoke delete on eventkit.outbox from {relay}".encode())
        session.execute(f"grant delete on eventkit.events to {writer}".encode())

        named = [
            f'revoke delete on "eventkit"."events" from "{writer}"',
            f'grant delete on "eventkit"."outbox" to "{relay}"',
        ]
        assert role_statements(session, "eventkit", installation.prefix) == named
        assert incomplete(session, "eventkit", installation.prefix) == named
        assert create_roles(session, "eventkit", installation.prefix) == named
        assert incomplete(session, "eventkit", installation.prefix) == []


def test_a_session_knows_its_grants(installation: Installation) -> None:
    """For each kind of process, the missing grants of the session's own role; none for its own."""
    with psycopg.connect(installation.members["relay"]) as session:
        found = purposes(session, "eventkit")

    assert found["relay"] == []
    assert found["writer"][:2] == ["select on streams", "insert on streams"]


def test_the_command_prints_makes_and_ends_with_a_code(database_url: str, postgres: PostgresServer) -> None:
    """Without --create it prints SQL and ends with 1; with it the roles are made; then nothing is left to do."""
    prefix = f"c{secrets.token_hex(4)}_"
    printed = eventkit("db", "roles", "--prefix", prefix, url=database_url)
    made = eventkit("db", "roles", "--create", "--prefix", prefix, url=database_url)
    again = eventkit("db", "roles", "--prefix", prefix, url=database_url)
    postgres.drop(database_url)
    with psycopg.connect(postgres.url, autocommit=True) as session:
        for role in ROLES:
            session.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name_of(role, prefix))))

    assert (printed.returncode, made.returncode, again.returncode) == (1, 0, 0), made.stderr
    assert printed.stdout == made.stdout
    assert f'create role "{prefix}relay" nologin;' in printed.stdout
    assert again.stdout.startswith("the roles are there")


def test_a_writer_appends_reads_and_forgets(installation: Installation) -> None:
    """All that a service does with the store; it can change no event and see no letter."""
    with psycopg.connect(installation.members["writer"]) as service:
        stream = shop.stream("order", 1)
        store.append(service, stream, Ordered("ann", 1), Ordered("ann", 2))
        store.append(service, stream, Ordered("ann", 3), expected=2)
        store.append_many(
            service, [Append(stream, [Ordered("ann", 4)]), Append(shop.stream("order", 2), [Ordered("b", 1)])]
        )
        Deadlines(store).set(service, stream, Ordered("ann", 5), timedelta(hours=1))
        assert Deadlines(store).cancel(service, stream, Ordered)
        Privacy(store).forget(service, "customer-1")
        assert len(list(store.read_stream(service, stream))) == 4
        assert len(list(store.read_all(service))) == 5
        service.commit()
        for statement in (
            "update eventkit.events set type = 'x'",
            "delete from eventkit.events",
            "delete from eventkit.outbox",
            "select from eventkit.dead_letters",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement.encode())
            service.rollback()


def test_a_relay_publishes_parks_and_settles(installation: Installation, tmp_path: Path) -> None:
    """The relay's role needs nothing else from its start to a refused event and a redrive."""
    append(installation.members["writer"], 1, 2, 3)
    with psycopg.connect(installation.members["writer"]) as service:
        store.append(service, shop.stream("order", "large"), Ordered("x" * 800_000, 1))
    with EmbeddedKafka() as kafka:
        kafka.create_topic("shop.order")
        options = {"message.max.bytes": "100000"}
        relay = installation.members["relay"]
        with EventkitProcess(relay, kafka.url, tmp_path / "relay", "relay", "run", options=options):
            wait_until(
                lambda: value(installation.url, "select count(*) from eventkit.outbox") == 1,
                timeout=60,
                what="the relay",
            )
            wait_until(
                lambda: value(installation.url, "select count(*) from eventkit.dead_letters") == 1, what="the letter"
            )


def test_a_projector_applies_parks_and_fires_deadlines(installation: Installation, tmp_path: Path) -> None:
    """Read models from the store, a poisoned stream, its redrive, and deadlines: all as the projector's role."""
    append(installation.members["writer"], 1, 2, -3)
    with psycopg.connect(installation.members["writer"]) as service:
        Deadlines(store).set(service, shop.stream("order", "late"), Ordered("ann", 4), timedelta(0))
    projector = installation.members["projector"]
    with EventkitProcess(projector, "kafka://127.0.0.1:1", tmp_path / "timers", "timers", "run"):
        wait_until(
            lambda: value(installation.url, "select count(*) from eventkit.timers") == 0,
            timeout=60,
            what="the deadline",
        )
    words = ("projector", "run", f"{MODELS}:totals", "--from", "store")
    with EventkitProcess(projector, "kafka://127.0.0.1:1", tmp_path / "projector", *words) as process:
        wait_until(lambda: value(installation.url, "select sum(amount) from totals") == 7, timeout=60, what="rows")
        wait_until(
            lambda: value(installation.url, "select count(*) from eventkit.dead_letters") == 1,
            timeout=60,
            what="a letter",
        )
        asked = eventkit("dead-letters", "redrive", "--all", "--yes", url=installation.members["operator"])
        wait_until(
            lambda: value(installation.url, "select count(*) from eventkit.redrives") == 0,
            timeout=60,
            what="the redrive",
        )
        assert "permission denied" not in process.log()

    assert asked.stdout.startswith("1 letter still there"), asked.stdout + asked.stderr


LOOKS: tuple[tuple[str, ...], ...] = (
    ("db", "verify"),
    ("db", "current"),
    ("db", "roles"),
    ("projection", "list"),
    ("dead-letters", "list"),
    ("dead-letters", "log"),
    ("timers", "list"),
    ("events", "sizes"),
    ("privacy", "status"),
)
WORKS: tuple[tuple[str, ...], ...] = (
    ("events", "prune", "--sent", "--older-than", "0s", "--yes"),
    ("inbox", "prune", "--older-than", "1d"),
    ("privacy", "forget", "ann", "--yes"),
)


def test_an_auditor_looks_at_everything_and_changes_nothing(installation: Installation) -> None:
    """The reader's role lists and verifies; a command that would change something names the missing grant."""
    append(installation.url, 1, 2)
    with psycopg.connect(installation.url) as session:
        session.execute("delete from eventkit.outbox")
    url = installation.members["reader"]
    for words in LOOKS:
        given = [*words, "--prefix", installation.prefix] if words[-1] == "roles" else words
        done = eventkit(*given, url=url)
        assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.stdout}{done.stderr}"
    for words in WORKS:
        done = eventkit(*words, url=url)
        assert done.returncode == 1, f"{words}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def test_an_operator_works(installation: Installation, tmp_path: Path) -> None:
    """The operator's role can run the operators' commands: letters, projections, inboxes, keys and old events."""
    append(installation.url, 1, -2)
    with psycopg.connect(installation.url) as session:
        store.append(session, shop.stream("order", "old"), Ordered("ann", 1))
        session.execute("delete from eventkit.outbox")
    run = ("projector", "run", f"{MODELS}:totals", "--from", "store", "--until-idle", "2")
    assert eventkit(*run, url=installation.members["projector"]).returncode == 0
    archive = str(tmp_path / "archive")

    works: tuple[tuple[str, ...], ...] = (
        *(look for look in LOOKS if look[-1] != "roles"),
        ("projection", "status", "totals"),
        ("dead-letters", "show", "1"),
        ("dead-letters", "discard", "1", "--yes"),
        ("events", "archive", "order-old", "--to", archive, "--yes"),
        ("events", "restore", archive),
        ("projection", "delete", "totals", "--yes"),
        ("db", "adopt", "--clone"),
        *WORKS,
    )
    for words in works:
        done = eventkit(*words, url=installation.members["operator"])
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def test_an_operator_rebuilds_its_own_tables(installation: Installation) -> None:
    """A rebuild needs the table's owner and a schema of its own for the shadow: the operator's role may make one."""
    append(installation.url, 1, 2)
    operator = name_of("operator", installation.prefix)
    with psycopg.connect(installation.url, autocommit=True) as session:
        session.execute(f"grant create on schema public to {operator}".encode())
        session.execute(f"alter table totals owner to {operator}".encode())
    url = _as_role(installation.members["operator"], operator)

    done = eventkit("projection", "rebuild", f"{MODELS}:totals", url=url)

    assert done.returncode == 0, done.stderr
    assert value(installation.url, "select sum(amount) from totals") == 3


def test_the_owner_migrates(installation: Installation) -> None:
    """The owner's role upgrades and undoes, for the tables are its own."""
    owner = name_of("owner", installation.prefix)
    url = _as_role(installation.members["owner"], owner)

    upgraded = eventkit("db", "upgrade", url=url)
    undone = eventkit("db", "downgrade", "base", "--yes", url=url)

    assert upgraded.returncode == 0, upgraded.stderr
    assert undone.returncode == 0, undone.stderr


def _as_role(url: str, role: str) -> str:
    """Return the address of a member who acts as a role from the start."""
    return f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"


def test_a_writer_appends_where_functions_are_granted_to_nobody(
    postgres: PostgresServer, empty_database_url: str
) -> None:
    """Hardened databases revoke them by default privileges; a revoke afterwards is named with the grant."""
    url = empty_database_url
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("alter default privileges revoke execute on functions from public")
    migrate.upgrade(url)
    with with_roles(postgres, url) as made:
        append(made.members["writer"], 1)
        with (
            psycopg.connect(url, autocommit=True) as admin,
            psycopg.connect(made.members["writer"], autocommit=True) as writer,
        ):
            admin.execute("revoke execute on function eventkit.to_debezium(text, bigint) from public")

            [grant] = incomplete(admin, "eventkit", made.prefix)
            assert purposes(writer, "eventkit")["writer"] == ["execute on to_debezium"]
            with pytest.raises(StorageError, match="function to_debezium"):
                append(made.members["writer"], 1)
            admin.execute(grant.encode())
        append(made.members["writer"], 1)
