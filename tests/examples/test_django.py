"""The outbox in Django, by the commands of its first lines."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
FAILS = """
from examples.outbox_django import *
main()
try:
    with transaction.atomic():
        place_order("bob", 5)
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
place_order("eve", 7)
"""


@pytest.mark.parametrize(
    ("command", "committed"),
    [(["-m", "examples.outbox_django"], ["ada"]), (["-c", FAILS], ["ada", "eve"])],
    ids=["program", "rollback"],
)
def test_an_order_is_committed_with_its_event_or_not_at_all(
    database_url: str, command: list[str], committed: list[str]
) -> None:
    """A block that fails around both leaves neither."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    subprocess.run([sys.executable, *command], env=settings, cwd=ROOT, check=True)

    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select customer, data->>'customer', version from orders"
            " full join eventkit.events on stream = 'order-' || orders.id order by 1"
        ).fetchall()
    assert rows == [(name, name, 1) for name in committed]
