"""Django: eventkit's tables by `migrate`, its command by `manage.py eventkit`, and events in `atomic()`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

from eventkit.integrations.django import database_url as url_of_django
from eventkit.storage import migrate
from eventkit.storage.tables import REVISIONS
from eventkit.transports import open_transport
from tests.servers.redis import GivenRedis, RedisServer
from tests.storage.db.service_drivers import ALIAS, django_connection
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "eventkit" / "integrations" / "django" / "migrations"
MANAGE = """
import sys
from django.core.management import execute_from_command_line
for command in sys.argv[1:]:
    try:
        execute_from_command_line(["manage.py", *command.split()])
    except SystemExit as end:
        print(int(end.code) or "")
    print(end="\\0", flush=True)
"""
PLACE = """
import django
django.setup()
from django.test import Client
answer = Client(headers={"host": "localhost"}).post("/orders", {"customer": "ada", "cents": 1250})
print(answer.status_code)
"""


def environment(url: str, **more: str) -> dict[str, str]:
    """Return the environment of a project whose default database is that of the URL."""
    module = {"DJANGO_SETTINGS_MODULE": "tests.integrations.django_settings", "SHOP_DATABASE": url}
    return {**os.environ, **module, **more}


def manage(url: str, *commands: str, **more: str) -> list[str]:
    """Run commands of Django in one process; return the output of each, with its exit code if it is not 0."""
    done = subprocess.run(
        [sys.executable, "-c", MANAGE, *commands],
        env=environment(url, **more), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [output.strip() for output in done.stdout.split("\0")[:-1]]


def test_migrate_makes_eventkits_tables_and_removes_them(empty_database_url: str) -> None:
    """By eventkit's own migrations: `db verify` finds no difference, and Django nothing more to migrate."""
    _, current, verified, changes, _, gone = manage(
        empty_database_url,
        "migrate",
        "eventkit db current",
        "eventkit db verify --settings tests.integrations.django_settings",
        "makemigrations --check --dry-run",
        "migrate eventkit zero",
        "eventkit db current",
    )

    assert current == "schema eventkit is at eventkit_0001, the newest"
    assert verified == "schema eventkit is as it must be"
    assert changes == "No changes detected"
    assert gone == "schema eventkit is at no revision, the newest is eventkit_0001: run `eventkit db upgrade`\n1"
    assert migrate.current(empty_database_url) is None


def test_tables_that_are_there_already_are_left_as_they_are(database_url: str) -> None:
    """As where `eventkit db upgrade` came before the app."""
    assert manage(database_url, "migrate", "eventkit db verify")[1] == "schema eventkit is as it must be"


def test_settings_of_django_count_where_the_environment_has_none(empty_database_url: str) -> None:
    """`EVENTKIT = {"SCHEMA": …}` is the schema of the migration and of the command; a variable overrides it."""
    _, current, help_text = manage(
        empty_database_url, "migrate eventkit", "eventkit db current", "help eventkit", SHOP_SCHEMA="facts"
    )
    [other] = manage(empty_database_url, "eventkit db current", SHOP_SCHEMA="facts", EVENTKIT_SCHEMA="another")

    assert current == "schema facts is at eventkit_0001, the newest"
    assert help_text.startswith("Usage: manage.py eventkit [OPTIONS] COMMAND")
    assert other.startswith("schema another is at no revision")


def test_a_view_commits_an_order_that_the_relay_sends(empty_database_url: str, redis: RedisServer | GivenRedis) -> None:
    """The relay runs by `manage.py`, with the broker of Django's settings, and ends cleanly."""
    url = empty_database_url
    manage(url, "migrate")
    settings = environment(url, SHOP_BROKER=redis.url)
    with closing(open_transport(redis.url)) as transport:
        transport.create_topics(["shop.order"], partitions=1)
        transport.release("shop.order")  # another test's installation may have claimed it
        with closing(transport.subscribe(["shop.order"], f"test-{os.getpid()}")) as subscription:
            placed = subprocess.run(
                [sys.executable, "-c", PLACE], env=settings, cwd=ROOT, capture_output=True, check=True
            )
            [(order,)] = rows(url, "select id::text from orders")
            relay = [sys.executable, "-m", "django", "eventkit", "relay", "run"]
            with subprocess.Popen(relay, env=settings, cwd=ROOT) as process:
                wait_until(lambda: f"order-{order}" in [one.key for one in subscription.receive(100, 0.5)])
                process.terminate()
        transport.release("shop.order")

    assert placed.stdout == b"201\n"
    assert process.returncode == 0


def test_djangos_own_tests_run_on_their_own_database(empty_database_url: str) -> None:
    """Its test runner makes the tables there; `TestCase` takes events back; `call_command` uses that database."""
    [output] = manage(empty_database_url, "test tests.integrations.django_cases --noinput")

    assert "Found 4 test(s)" in output
    assert migrate.current(empty_database_url) is None


def test_every_revision_has_a_migration_of_django() -> None:
    """A new revision of eventkit needs one here, too."""
    found = [re.search(r'upgrade_to\("(\w+)"', path.read_text()) for path in sorted(MIGRATIONS.glob("0*.py"))]

    assert [one and one[1] for one in found] == list(REVISIONS)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def connection() -> Iterator[Any]:
    """Django's connection to nowhere, whose settings a test changes."""
    found = django_connection("postgresql:///shop")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, {"dbname": "shop"}),
        ({"USER": "ada", "HOST": "db.example", "PORT": "5433"}, {"user": "ada", "host": "db.example", "port": "5433"}),
        (
            {"USER": "a@b", "PASSWORD": "p@s/s:w?r#d %41&=", "HOST": "h"},
            {"user": "a@b", "password": "p@s/s:w?r#d %41&="},
        ),
        ({"PASSWORD": "alone"}, {"password": "alone", "dbname": "shop"}),
        ({"HOST": "/var/run/postgresql", "NAME": "my shop"}, {"host": "/var/run/postgresql", "dbname": "my shop"}),
        ({"HOST": "a,b", "PORT": "1,2"}, {"host": "a,b", "port": "1,2"}),
        ({"HOST": "::1", "OPTIONS": {"sslmode": "require", "pool": True}}, {"host": "::1", "sslmode": "require"}),
        ({"NAME": "", "OPTIONS": {"service": "shop"}}, {"service": "shop"}),
        ({"OPTIONS": {"assume_role": "the owner"}}, {"options": r"-c role=the\ owner"}),
        ({"OPTIONS": {"assume_role": "x", "options": "-c jit=off"}}, {"options": "-c jit=off -c role=x"}),
        ({"OPTIONS": {"isolation_level": 3, "server_side_binding": True}}, {"dbname": "shop"}),
    ],
)
def test_djangos_settings_are_an_address(connection: Any, settings: dict[str, Any], parts: dict[str, str]) -> None:
    """Every part of them that libpq knows, with any characters in it."""
    connection.settings_dict.update({"USER": "", "PASSWORD": "", "HOST": "", "PORT": "", **settings})

    found = {name: str(value) for name, value in conninfo_to_dict(url_of_django(ALIAS)).items()}

    assert parts.items() <= found.items()
    assert set(found) <= {*parts, "dbname", "client_encoding", "user", "host", "port"}


def test_a_database_that_is_not_postgresql_is_refused() -> None:
    """With its alias, and the setting that names another."""
    connection = django_connection("", engine="django.db.backends.sqlite3")
    with pytest.raises(ImproperlyConfigured, match=r"DATABASES\['events'\] is sqlite"):
        url_of_django(ALIAS)
    connection.close()
