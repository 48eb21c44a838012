"""The pytest plugin, as a user's test run has it."""

import re
import subprocess
import sys
from pathlib import Path

from eventkit.transports import Transport
from tests.servers.postgres import PostgresServer

USERS = """
import psycopg
import pytest

seen = []

@pytest.mark.parametrize("nth", [1, 2])
def test_a_database_of_its_own(eventkit_database, eventkit_engine, nth):
    with psycopg.connect(eventkit_database) as connection:
        assert connection.execute("select count(*) from eventkit.events").fetchone() == (0,)
        connection.execute("insert into eventkit.streams values ('order-1', 1)")
    with eventkit_engine.connect() as connection:
        seen.append(connection.exec_driver_sql("select current_database()").scalar())
    assert len(set(seen)) == nth

def test_failing(eventkit_transport):
    from eventkit.testing import given
    from tests.aggregates.shop import Closed, Order
    given(Order).when(Order.close).then()
"""
SERVER = """
import pytest

@pytest.fixture(scope="session")
def eventkit_server():
    return {url!r}
"""
LIGHT = "import sys, eventkit.testing.plugin; print({'sqlalchemy', 'psycopg', 'alembic'} & {*sys.modules})"


def test_a_user_gets_fixtures_and_a_readable_failure(tmp_path: Path, postgres: PostgresServer) -> None:
    """Each test has a fresh database, here on a server of the user's; a failing scenario points at the test's line."""
    (tmp_path / "test_users.py").write_text(USERS)
    (tmp_path / "conftest.py").write_text(SERVER.format(url=postgres.url))

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)

    assert "1 failed, 2 passed" in ran.stdout, ran.stdout + ran.stderr
    assert re.search(r"^> +given\(Order\).when\(Order.close\).then\(\)$", ran.stdout, re.MULTILINE)
    assert "the recorded events differ:" in ran.stdout
    assert "eventkit/testing/decisions.py" not in ran.stdout


def test_the_plugin_costs_a_test_run_nothing() -> None:
    """Where no fixture of it is used, nothing of the database is loaded."""
    ran = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "set()"


def test_the_transport_is_the_tests_own(eventkit_transport: Transport) -> None:
    """Topics of another test are not in it."""
    assert eventkit_transport.create_topics(["shop.order"], partitions=2) == ["shop.order"]
    assert eventkit_transport.partitions(["shop.order"]) == {"shop.order": 2}
