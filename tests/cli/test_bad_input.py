"""Every wrong input to a command: one sentence with the remedy, and a non-zero exit.

Other tests have the rest:

- settings: test_settings; the `db` commands: test_db; topics on Kafka: test_topics; signals: test_signals
- each refusal of a connection: storage/db/test_connection, storage/db/test_standby_and_pooler
- drivers and asynchronous sessions: storage/events/test_append_connections
- bad events: domain/
- outages while a relay runs, and a refused event: relay/test_absence, relay/test_relay
- events a projection cannot apply: projection/apply/test_parking
- broken read models and `--from store`: projection/run/test_running
"""

import logging
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from tests.projection.shop import CREATE
from tests.servers.kafka import GivenKafka, KafkaServer

SECRET = "hush-7f3a"
NOBODY = "127.0.0.1:1"
MODEL = "tests.projection.read_models:totals"
RELAY = ("relay", "run")
PROJECTOR = ("projector", "run", MODEL)
FROM_STORE = (*PROJECTOR, "--from", "store")
RUNS = pytest.mark.parametrize("command", [RELAY, PROJECTOR, FROM_STORE], ids=["relay", "projector", "from store"])


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in this process, without settings of its own; give signals, logging and modules back as they were."""
    for name in ("DATABASE_URL", "TRANSPORT_URL", "SCHEMA"):
        monkeypatch.delenv(f"EVENTKIT_{name}", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root, path, modules = logging.getLogger(), sys.path[:], set(sys.modules)
    logged = root.handlers[:], root.level
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:], root.level = logged
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("play_"):
            del sys.modules[name]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with eventkit's tables and the read model's."""
    change(database_url, CREATE)
    return database_url


@pytest.fixture
def broker(embedded_kafka: EmbeddedKafka) -> str:
    """A broker that answers."""
    return embedded_kafka.url


def change(url: str, statement: str) -> None:
    """Change the database as an operator would."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(statement.encode())


def refused(*arguments: str, code: int = 1, database: str = "", transport: str = "", **environment: str) -> str:
    """Run the command in vain; return its one sentence."""
    settings = {"EVENTKIT_DATABASE_URL": database, "EVENTKIT_TRANSPORT_URL": transport, **environment}
    result = CliRunner().invoke(main, arguments, env=settings)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert SECRET not in result.output
    said = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert len(said) == 1, result.stderr
    assert said[0].startswith("eventkit: ")
    return said[0].removeprefix("eventkit: ")


def misused(*arguments: str) -> str:
    """Use the command in a way it does not know; return the text below the usage."""
    result = CliRunner().invoke(main, arguments, prog_name="eventkit")
    assert result.exit_code == 2
    assert "Usage: eventkit" in result.stderr
    assert "--help' for help" in result.stderr
    return result.stderr.splitlines()[-1]


@RUNS
def test_a_missing_database_url_is_an_error(command: tuple[str, ...]) -> None:
    """The sentence has the setting to make."""
    said = refused(*command, code=2, transport=f"kafka://{NOBODY}")

    assert said.startswith("no database is given: set EVENTKIT_DATABASE_URL=postgresql://")


@pytest.mark.parametrize("command", [RELAY, PROJECTOR], ids=["relay", "projector"])
def test_a_missing_broker_url_is_an_error(command: tuple[str, ...], url: str) -> None:
    """The sentence has the setting to make."""
    said = refused(*command, code=2, database=url)

    assert said.startswith("no transport is given: set EVENTKIT_TRANSPORT_URL=kafka://")


@RUNS
@pytest.mark.parametrize(
    ("address", "said", "code"),
    [
        (f"postgresql://me:{SECRET}@{NOBODY}/shop", "is the server up and the address right?", 1),
        (f"mysql://me:{SECRET}@{NOBODY}/shop", "eventkit speaks to PostgreSQL through psycopg", 2),
        (f"postgresql+asyncpg://me:{SECRET}@{NOBODY}/shop", "eventkit speaks to PostgreSQL through psycopg", 2),
        (f"postgresql://me:{SECRET}@host:port/shop", "the database URL cannot be read", 2),
        (f"me:{SECRET}", "eventkit speaks to PostgreSQL through psycopg", 2),
    ],
)
def test_a_database_address_that_leads_nowhere(
    command: tuple[str, ...], address: str, said: str, code: int, broker: str
) -> None:
    """Every command that runs ends at once, and shows no password."""
    assert said in refused(*command, code=code, database=address, transport=broker)


@RUNS
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("drop schema eventkit cascade", "run `eventkit db upgrade`"),
        ("update eventkit.eventkit_version set version_num = 'eventkit_9999'", "install the version of eventkit"),
        ("alter table eventkit.events alter column position set cache 10", "set cache 1`"),
    ],
    ids=["migrations not run", "schema newer", "sequence with a cache"],
)
def test_a_database_that_is_not_as_it_must_be(
    command: tuple[str, ...], statement: str, said: str, url: str, broker: str
) -> None:
    """No process starts on a database that it must not work on; nothing is changed."""
    change(url, statement)

    assert said in refused(*command, database=url, transport=broker)


@RUNS
def test_a_wrong_password_is_an_error_that_does_not_show_it(
    command: tuple[str, ...], guarded: str, broker: str
) -> None:
    """It says where a password comes from."""
    said = refused(*command, database=guarded.replace("postgres@", f"shop:{SECRET}@"), transport=broker)

    assert "check the user and the password (PGPASSWORD, ~/.pgpass)" in said


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that asks the role `shop` for a password."""
    with EmbeddedPostgres(durable=False) as server:
        change(server.url, "create role shop login password 'right'")
        with psycopg.connect(server.url, autocommit=True) as session:
            row: Any = session.execute("show hba_file").fetchone()
            rules = "local all shop scram-sha-256\nlocal all all trust"
            session.execute(f"copy (select regexp_split_to_table($$ {rules}$$, '\n')) to '{row[0]}'".encode())
            session.execute("select pg_reload_conf()")
        yield server.url


@pytest.mark.parametrize("command", [RELAY, PROJECTOR], ids=["relay", "projector"])
@pytest.mark.parametrize(
    ("address", "said", "code"),
    [
        (f"kafka://{NOBODY}", f"Kafka at {NOBODY} does not answer", 1),
        (f"kafka://me:{SECRET}@{NOBODY}", "are EVENTKIT_TRANSPORT_URL and its options right?", 1),
        ("kafka://localhost:abc", "has no number as its port", 2),
        ("kafka://", "a Kafka URL names brokers", 2),
        (f"amqp://me:{SECRET}@host", "known are kafka://, rabbitmq://", 2),
        (f"me:{SECRET}", "known are kafka://, rabbitmq://", 2),
        ("local://shop", "does not leave its process", 2),
        ("kafka://h?acks=1", "the transport option acks is not yours to set", 2),
    ],
)
def test_a_broker_address_that_leads_nowhere(
    command: tuple[str, ...], address: str, said: str, code: int, url: str
) -> None:
    """Every command that needs a broker ends at once, and shows no password."""
    assert said in refused(*command, code=code, database=url, transport=address)


def test_a_projector_whose_topic_is_missing_says_how_to_create_it(url: str, kafka: KafkaServer | GivenKafka) -> None:
    """It would wait forever for a topic that nobody creates."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"

    said = refused(*PROJECTOR, "--topic", topic, database=url, transport=kafka.url)

    assert said.startswith(f"topic {topic!r}: the broker does not know it: create it with `eventkit topics create`")


@pytest.mark.parametrize(
    ("options", "transport", "code", "said"),
    [
        (("--topic", "shop.order"), "", 2, "--topic says what to read from a broker: say --from transport, too"),
        (("--from", "transport"), "", 2, "no transport is given: set EVENTKIT_TRANSPORT_URL"),
        (("--from", "transport"), "local://here", 2, "this transport does not leave its process, so a rebuild would"),
        (("--from", "transport", "--workers", "2"), "local://here", 2, "--workers: one process reads the transport"),
        (("--from", "transport", "--memory", "1GB"), "local://here", 2, "--memory: the memory for reading"),
        (("--memory", "20MB"), "", 2, "a rebuild of this service takes"),
    ],
)
def test_a_rebuild_that_has_nothing_to_read_from(
    options: tuple[str, ...], transport: str, code: int, said: str, url: str
) -> None:
    """It ends at once: nothing was begun."""
    command = ("projection", "rebuild", PROJECTOR[2], *options)

    assert refused(*command, code=code, database=url, transport=transport).startswith(said)


def test_a_projectors_table_is_checked_before_it_runs(database_url: str, broker: str) -> None:
    """The sentence says whose the table is."""
    said = refused(*PROJECTOR, database=database_url, transport=broker)

    assert said.startswith("table 'totals' of projection 'totals' does not exist in this database")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import play_nowhere", "no module 'play_nowhere'"),
        ("def x(:", "its code cannot be read: invalid syntax"),
        ("raise SystemExit(0)", "importing play_broken ends the process"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("from eventkit import Catalog; Catalog('Bad Name')", "'Bad Name' breaks the rule"),
    ],
)
def test_a_module_that_cannot_be_imported(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """The cause and its place, on one line, for any error that the module raises."""
    (tmp_path / "play_broken.py").write_text(code)
    monkeypatch.chdir(tmp_path)

    assert said in refused("projector", "run", "play_broken:model", "--from", "store", database=url)


@pytest.mark.parametrize("path", ["model", ":model", "module:", ".module:model", "a..b:model", "a b:c", "a:b:c"])
def test_a_path_that_is_none(path: str, url: str) -> None:
    """The sentence shows how one looks."""
    said = refused("projector", "run", path, "--from", "store", code=2, database=url)

    assert said == f"projection path {path!r} must look like package.module:projection"


def test_two_projections_of_one_name(url: str) -> None:
    """They would share their checkpoints."""
    said = refused(*FROM_STORE, MODEL, code=2, database=url)

    assert said == "two projections are named 'totals': each needs a name of its own"


def test_options_that_say_nothing_together(url: str) -> None:
    """An option that would be ignored is refused."""
    for option in ("--topic", "--group"):
        said = refused(*FROM_STORE, option, "shop.order", code=2, database=url)

        assert "leave them out with --from store" in said


def test_a_wrong_store_is_refused(url: str, empty_database_url: str, broker: str) -> None:
    """A store that is no store is a mistake, also where it is only for repairs."""
    wrong = refused(*PROJECTOR, "--store-url", "mysql://host/shop", code=2, database=url, transport=broker)
    empty = refused(*PROJECTOR, "--store-url", empty_database_url, database=url, transport=broker)

    assert "eventkit speaks to PostgreSQL" in wrong
    assert "no eventkit tables" in empty


def test_an_outage_of_the_store_is_only_logged(url: str, broker: str) -> None:
    """Events come from the broker: the projector works, and names the functions it lacks."""
    arguments = (*PROJECTOR, "--topic", "shop.order", "--until-idle", "0.1")
    store = ("--store-url", f"postgresql://postgres@{NOBODY}/shop")
    settings = {"EVENTKIT_DATABASE_URL": url, "EVENTKIT_TRANSPORT_URL": broker}

    result = CliRunner().invoke(main, [*arguments, *store], env=settings)

    assert result.exit_code == 0, result.output
    assert "projector totals cannot repair gaps until the store is there" in result.stderr


@pytest.mark.parametrize("number", ["0", "257", "32768"])
def test_a_number_of_relay_parts_that_is_out_of_range(url: str, number: str) -> None:
    """The sentence has the bounds; nothing is changed."""
    assert "a number from 1 to 256" in refused("relay", "parts", number, code=2, database=url)


@pytest.mark.parametrize("name", ["database", "transport"])
def test_a_password_in_an_option_is_refused(name: str) -> None:
    """A process list would show it; the sentence names the setting to use."""
    for address in (f"scheme://me:{SECRET}@host", f"scheme://host?sasl.oauthbearer.client.secret={SECRET}"):
        said = refused(f"--{name}-url", address, *RELAY, code=2)

        assert f"set EVENTKIT_{name.upper()}_URL in the environment instead" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'."),
        (["db", "bogus"], "No such command 'bogus'."),
        (["relay", "run", "--bogus"], "No such option '--bogus'."),
        (["relay", "run", "extra"], "unexpected extra argument (extra)"),
        (["projector", "run"], "Missing argument 'PACKAGE.MODULE:PROJECTION...'."),
        (["projector", "run", MODEL, "--from", "nowhere"], "'nowhere' is not one of 'transport', 'store'."),
        (["projector", "run", MODEL, "--topic", ""], "topic '' breaks the rule"),
        (["topics", "create"], "Missing argument 'NAME...'."),
        (["topics", "create", "bad name!"], "topic 'bad name!' breaks the rule"),
        (["topics", "create", "a", "--partitions", "0"], "0 is not in the range x>=1."),
        (["--log-format", "xml", "relay", "run"], "'xml' is not one of 'text', 'json'."),
        (["projector", "run", MODEL, "--until-idle", "nan"], "'nan' is no number"),
        (["projector", "run", MODEL, "--until-idle", "1e300"], "1e+300 is not in the range"),
        (["dead-letters", "redrive", "--all", "--wait", "inf"], "'inf' is no number"),
        (["health", "8080", "--timeout", "infinity"], "'infinity' is no number"),
        (["status", "--watch", "NaN"], "'NaN' is no number"),
    ],
)
def test_wrong_usage_is_shown_the_right_one(arguments: list[str], said: str) -> None:
    """The mistake is named, with the way to the help."""
    assert said in misused(*arguments)


@pytest.mark.parametrize("word", ["order-\udcff", "a\0b", "\ud800"])
@pytest.mark.parametrize("command", ["dead-letters list --stream", "events find --type", "privacy forget", "bogus"])
def test_a_word_that_is_no_text_is_refused(command: str, word: str, url: str) -> None:
    """As a shell passes bytes that are not UTF-8: no name in the database can be such a word."""
    result = CliRunner().invoke(main, [*command.split(), word], env={"EVENTKIT_DATABASE_URL": url})

    assert result.exit_code == 2
    assert f"Error: {word!a}" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "",
        "db",
        "db upgrade",
        "db current",
        "db verify",
        "db sql",
        "relay",
        "relay run",
        "projector run",
        "topics create",
        "topics check",
        "dead-letters list",
        "dead-letters redrive",
        "dead-letters edit",
        "dead-letters discard",
        "dead-letters log",
        "events",
        "events prune",
        "events archive",
    ],
)
def test_every_help_has_examples(line: str) -> None:
    """Examples can be copied as they are; no summary is cut off."""
    shown = CliRunner().invoke(main, [*line.split(), "--help"], prog_name="eventkit")

    assert shown.exit_code == 0
    assert f"eventkit {line}".rstrip() in shown.output.partition("Examples:")[2]
    assert not [line for line in shown.output.splitlines() if line.endswith("...") and line.startswith("  ")]


def test_the_embedded_broker_makes_topics_when_asked(broker: str) -> None:
    """First steps work as on Kafka; the number of partitions is the broker's own."""
    settings = {"EVENTKIT_TRANSPORT_URL": broker}
    created = CliRunner().invoke(main, ["topics", "create", "shop.order"], env=settings)
    again = CliRunner().invoke(main, ["topics", "create", "shop.order", "--json"], env=settings)
    checked = CliRunner().invoke(main, ["topics", "check", "shop.order", "--json"], env=settings)

    assert created.output == "shop.order: created with 4 partitions\n"
    assert again.output == '{"created": [], "topics": {"shop.order": 4}}\n'
    assert '"topics": {"shop.order": 4}}' in checked.output
