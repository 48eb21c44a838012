"""The refusals of `connect`, in one sentence each, and its translation of the driver's errors; no password in any."""

import socket
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    EventkitError,
    NotPrimary,
    SchemaMismatch,
    StorageError,
)
from eventkit.storage.db import session_settings
from eventkit.storage.db.connection import connect, database_errors
from tests.servers.postgres import PostgresServer

SECRET = "hush-7f3a"


def refusal(url: str, **options: str) -> str:
    """Return the error of `connect` for an address."""
    with pytest.raises(EventkitError) as caught:
        connect(url, name="test", **options)  # type: ignore[arg-type]
    return str(caught.value)


def alter(url: str, statement: str) -> None:
    """Change the database as an operator would."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(statement)


def run_by_psycopg(url: str, statement: str) -> None:
    """Run a statement on a psycopg connection."""
    with psycopg.connect(url) as session:
        session.execute(statement)


def run_by_sqlalchemy(url: str, statement: str) -> None:
    """Run a statement on a connection of SQLAlchemy."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))


@pytest.fixture
def nobody_listens() -> Iterator[int]:
    """A port that is taken but does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.both_postgres
def test_a_session_is_named_and_notices_a_dead_server(database_url: str) -> None:
    """Operators see `eventkit <name>`; the socket gives up after five seconds without an answer."""
    with connect(database_url, name="relay reader", options={"statement_timeout": "7s", "work_mem": "8MB"}) as session:
        name = session.execute("select application_name from pg_stat_activity where pid = pg_backend_pid()").fetchone()
        settings = session.execute(
            "select current_setting('statement_timeout'), current_setting('work_mem')"
        ).fetchone()
        parameters = session.info.get_parameters()

    assert name == ("eventkit relay reader",)
    assert settings == ("7s", "8MB")
    assert parameters["tcp_user_timeout"] == "5000"
    assert parameters["connect_timeout"] == "5"
    assert session.autocommit is False


def test_both_spellings_of_an_address_work(database_url: str) -> None:
    """SQLAlchemy's `postgresql+psycopg://` is taken as it is."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://")

    with connect(url, name="test", autocommit=True) as session:
        assert session.autocommit


def test_settings_of_the_url_stay(database_url: str) -> None:
    """Settings in the address win over our defaults, and its `options` are kept beside ours."""
    url = f"{database_url}{'&' if '?' in database_url else '?'}connect_timeout=3&options=-c%20work_mem%3D9MB"

    with connect(url, name="test", options={"search_path": "one, two"}) as session:
        kept = session.execute("select current_setting('work_mem'), current_setting('search_path')").fetchone()

    assert kept == ("9MB", "one, two")


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{SECRET}@host/db",
        f"postgresql+asyncpg://me:{SECRET}@host/db",
        f"me:{SECRET}@host",
        f"postgresql://me:12/{SECRET}@host/db",
        f"postgresql://me:pa/{SECRET}@host/db",
        f"postgresql://me:a?{SECRET}@host/db",
        f"postgresql://me:{SECRET}#x/y@host:port/db",
        f"postgresql://me:{SECRET}@[::1/db",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """A sentence says how an address looks; the password that may be in it, however mangled, is not in it."""
    with pytest.raises(ConfigurationError, match="database URL") as caught:
        connect(url, name="test")

    assert "postgresql://user@host:5432/database" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_is_away(nobody_listens: int) -> None:
    """The message has the address and asks whether the server is up."""
    said = refusal(f"postgresql://me:{SECRET}@127.0.0.1:{nobody_listens}/shop")

    assert said == (
        f"PostgreSQL at 127.0.0.1:{nobody_listens}, database 'shop' as 'me' cannot be reached: Connection refused; "
        "is the server up and the address right?"
    )


def test_a_host_that_does_not_exist() -> None:
    """The error names the host that does not resolve."""
    said = refusal(f"postgresql://me:{SECRET}@nowhere.invalid/shop")

    assert "'nowhere.invalid'" in said
    assert said.endswith("is the server up and the address right?")
    assert SECRET not in said


def test_a_database_that_does_not_exist(postgres: PostgresServer) -> None:
    """The message names the database and says to create it."""
    said = refusal(make_url(postgres.url).set(database="nothing").render_as_string(hide_password=False))

    assert 'database "nothing" does not exist; create it (createdb) or correct the URL' in said


def test_a_role_that_does_not_exist(database_url: str) -> None:
    """The message names the role."""
    said = refusal(database_url.replace("postgres@", f"stranger:{SECRET}@"))

    assert 'role "stranger" does not exist; create the role or correct the user in the URL' in said
    assert SECRET not in said


def test_a_database_without_our_tables(empty_database_url: str) -> None:
    """The message says which command makes them."""
    assert "no eventkit tables in schema 'eventkit': run `eventkit db upgrade`" in refusal(empty_database_url)


def test_another_schema_is_another_set_of_tables(database_url: str) -> None:
    """The requested schema is the one that is read."""
    assert "in schema 'records'" in refusal(database_url, schema="records")


def test_a_schema_newer_than_the_code(database_url: str) -> None:
    """A database that a newer eventkit upgraded is left alone."""
    alter(database_url, "update eventkit.eventkit_version set version_num = 'eventkit_9999'")

    said = refusal(database_url)

    assert "at revision eventkit_9999, newer than this eventkit, which knows eventkit_0001: install the version" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("set cache 10", "has a cache of 10, which reorders events: run `alter table"),
        ("set increment by 3", "has an increment of 3"),
        ("set cycle", "restarts at its end, and numbers repeat"),
        ("drop identity", "is no identity column"),
    ],
)
def test_an_identity_that_would_reorder_events(database_url: str, change: str, said: str) -> None:
    """Positions must be drawn one by one, upwards: anything else is refused before it does harm."""
    alter(database_url, f"alter table eventkit.events alter column position {change}")

    assert said in refusal(database_url)


def test_an_identity_behind_the_table(database_url: str) -> None:
    """After a copy of rows with their positions the identity must be moved, and the message has the statement."""
    alter(
        database_url,
        "insert into eventkit.events overriding system value "
        "values (41, gen_random_uuid(), 's', 'a-1', 1, 'T', 1, '{}', '{}')",
    )

    said = refusal(database_url)
    alter(database_url, said.partition("`")[2].partition("`")[0])

    assert "is at 0, behind the highest position 41" in said
    connect(database_url, name="test").close()


@pytest.mark.parametrize("schema", ["eventkit", None])
def test_a_role_that_is_read_only_by_default_is_written_to(
    database_url: str, schema: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A default of the role or the database says nothing of the server: our session sets its own, and says so."""
    database = make_url(database_url).database
    alter(database_url, f"alter database {database} set default_transaction_read_only = on")
    caplog.set_level("INFO")
    session_settings._reported.clear()

    with connect(database_url, name="test", schema=schema) as session:
        session.execute("delete from eventkit.outbox")

    assert "default_transaction_read_only = on: set for the role or the database, not in force here" in caplog.text


@pytest.mark.parametrize(
    ("statement", "kind", "said"),
    [
        ("select pg_terminate_backend(pg_backend_pid())", DatabaseUnavailable, "57P01"),
        ("select from eventkit.nothing", SchemaMismatch, "run `eventkit db upgrade`"),
        ("select nothing from eventkit.events", SchemaMismatch, "run `eventkit db upgrade`"),
        ("select from nothing.events", SchemaMismatch, "run `eventkit db upgrade`"),
        ("set statement_timeout = 1; select pg_sleep(9)", DatabaseUnavailable, "statement_timeout"),
        ("do $$ begin raise sqlstate '25P03'; end $$", DatabaseUnavailable, "idle_in_transaction_session_timeout"),
        ("do $$ begin raise sqlstate '25P04'; end $$", DatabaseUnavailable, "its transaction_timeout"),
        ("do $$ begin raise sqlstate '57P05'; end $$", DatabaseUnavailable, "its idle_session_timeout"),
        ("do $$ begin raise sqlstate '53100'; end $$", DatabaseUnavailable, "disk of the PostgreSQL server is full"),
        ("set transaction read only; delete from eventkit.outbox", NotPrimary, "connect to the primary"),
        ("set role pg_monitor; select from eventkit.events", StorageError, "grant it to the role"),
    ],
)
@pytest.mark.parametrize("through", ["psycopg", "sqlalchemy"])
def test_the_driver_s_errors_become_ours(
    database_url: str, statement: str, kind: type[Exception], said: str, through: str
) -> None:
    """Whether psycopg or SQLAlchemy raises it, the error has the remedy, and the driver's error as its cause."""
    run = {"psycopg": run_by_psycopg, "sqlalchemy": run_by_sqlalchemy}[through]

    with pytest.raises(kind, match=said) as caught, database_errors():
        run(database_url, statement)

    assert caught.value.__cause__ is not None


def test_errors_of_a_statement_are_not_translated(database_url: str) -> None:
    """A mistake in the data is the caller's: it is not turned into another error."""
    with pytest.raises(psycopg.errors.DivisionByZero), database_errors(), psycopg.connect(database_url) as session:
        session.execute("select 1 / 0")


def test_a_lost_connection_is_its_own_error(database_url: str) -> None:
    """A statement on a connection that is gone raises DatabaseUnavailable, first and every later time."""
    session = connect(database_url, name="test", autocommit=True)
    alter(database_url, f"select pg_terminate_backend({session.info.backend_pid})")

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable), database_errors():
            session.execute("select 1")


def test_a_wrong_password_is_an_error_that_does_not_show_it() -> None:
    """The message names the user and where a password comes from."""
    with EmbeddedPostgres(durable=False) as server:
        alter(server.url, f"create role shop login password '{SECRET}'")
        with psycopg.connect(server.url, autocommit=True) as session:
            path = session.execute("show hba_file").fetchone()
            rules = "local all shop scram-sha-256\nlocal all all trust"
            session.execute(
                "copy (select regexp_split_to_table($$" + rules + "$$, '\n')) to '" + str(path[0] if path else "") + "'"
            )
            session.execute("select pg_reload_conf()")

        wrong = refusal(server.url.replace("postgres@", f"shop:wrong{SECRET}@"))
        none = refusal(server.url.replace("postgres@", "shop@"))
        with connect(server.url.replace("postgres@", f"shop:{SECRET}@"), name="test", schema=None):
            pass

    assert 'password authentication failed for user "shop"; check the user and the password' in wrong
    assert SECRET not in wrong
    assert "no password supplied; check the user and the password (PGPASSWORD, ~/.pgpass)" in none
