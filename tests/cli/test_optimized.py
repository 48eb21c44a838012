"""`python -OO` (PYTHONOPTIMIZE=2) strips docstrings and asserts: nothing depends on them."""

import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest

from eventkit.cli import main
from tests.projection.run.test_running import environment
from tests.projection.shop import CREATE, rows

ROOT = Path(__file__).parents[2]
PROGRAM = """
import psycopg, sys
from eventkit import EventStore
from tests.projection.shop import Ordered, shop
with psycopg.connect(sys.argv[1]) as connection:
    EventStore(shop).append(connection, "order-1", Ordered("ann", 1), Ordered("ann", 2))
"""


def run(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python without docstrings and asserts."""
    return subprocess.run(
        [sys.executable, "-OO", *words],
        env=environment(url), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_events_are_appended_and_applied(database_url: str) -> None:
    """As they are without the option."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    appended = run(database_url, "-c", PROGRAM, database_url)
    assert appended.returncode == 0, appended.stderr

    words = ["-m", "eventkit.cli", "projector", "run", "--from", "store", "--until-idle", "2"]
    done = run(database_url, *words, "tests.projection.read_models:totals")

    assert done.returncode == 0, done.stderr
    assert rows(database_url, "select customer, orders, amount from totals") == [("ann", 2, 3)]


@pytest.mark.parametrize("words", [[], ["db"], ["db", "upgrade"], ["dead-letters"], ["events", "prune"]])
def test_a_commands_help_is_there(words: list[str]) -> None:
    """It is read from the source."""
    command: click.Command = main
    for word in words:
        found = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
        assert found is not None
        command = found
    assert command.help

    shown = run("", "-m", "eventkit.cli", *words, "--help").stdout

    assert command.help.split(".")[0].split("\n")[0][:40] in shown
