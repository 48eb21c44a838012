"""The program of docs/async-handlers.md."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from eventkit.testing import given
from examples.async_handlers import CardCharged, ChargeCard, payments

ROOT = Path(__file__).parents[2]


def test_all_cards_are_charged_once(database_url: str) -> None:
    """By the commands of its first lines; a second process finds nothing to do."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    program = [sys.executable, "-m", "examples.async_handlers"]
    cli = [sys.executable, "-m", "eventkit.cli", "projector", "run", "examples.async_handlers:payments"]
    worker = [*cli, "--from", "store", "--until-idle", "1"]

    subprocess.run(program, env=settings, cwd=ROOT, check=True, timeout=120)
    for _ in range(2):
        subprocess.run(
            [*worker, "--from", "store", "--until-idle", "1"], env=settings, cwd=ROOT, check=True, timeout=120
        )

    with psycopg.connect(database_url) as connection:
        found = connection.execute('select count(*), count(distinct "order"), sum(cents) from charges').fetchone()
        charged = connection.execute("select count(*) from eventkit.events where type = 'CardCharged'").fetchone()
    assert found == (20, 20, 2190)
    assert charged == (20,)


def test_a_command_is_charged_and_announced(database_url: str) -> None:
    """A scenario runs the same handler."""
    with psycopg.connect(database_url) as connection:
        connection.execute('create table charges ("order" text, cents int, receipt text)')

    scenario = given(payments, database=database_url).when(ChargeCard("7", 250))

    (row,) = _rows(database_url)
    scenario.then_appended(CardCharged(row[2]))
    assert row[:2] == ("7", 250)


def _rows(url: str) -> list[tuple[str, int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select * from charges").fetchall()
