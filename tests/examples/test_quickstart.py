"""The README's program does as the README says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import psycopg

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROJECTOR = ("eventkit.cli", "projector", "run", "examples.quickstart:totals", "--from", "store")


def test_the_readme_program_projects_committed_events_and_nothing_else(database_url: str) -> None:
    """Two orders committed and one rolled back: the read model has the two, by the commands of the README."""
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    subprocess.run([sys.executable, "-m", "examples.quickstart"], env=environment, cwd=ROOT, check=True)

    with running(environment), psycopg.connect(database_url, autocommit=True) as connection:
        rows = wait_until(lambda: connection.execute("select * from customer_totals").fetchall(), timeout=60)

    assert rows == [("ada", 2, Decimal("20.00"))]


@contextmanager
def running(environment: dict[str, str]) -> Iterator[None]:
    """Keep the projector running; it must end well when it is asked to."""
    with subprocess.Popen([sys.executable, "-m", *PROJECTOR], env=environment, cwd=ROOT) as projector:
        try:
            yield
        finally:
            projector.terminate()
        assert projector.wait(timeout=60) == 0
