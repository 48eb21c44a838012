"""The process manager's example: an order that goes well, one that is made good, one that nobody pays in time."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROCESSES = [
    ("projector", "run", "examples.fulfilment.workers:everything", "--from", "store"),
    ("timers", "run"),
]


def test_every_order_comes_to_its_end(database_url: str) -> None:
    """By the commands of its first lines; three days pass by moving the deadline, for nobody waits for them."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    subprocess.run([sys.executable, "-m", "examples.fulfilment"], env=settings, cwd=ROOT, check=True)
    with ExitStack() as stack:
        for process in PROCESSES:
            command = [sys.executable, "-m", "eventkit.cli", *process]
            stack.callback(stack.enter_context(subprocess.Popen(command, env=settings, cwd=ROOT)).kill)
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))

        def states() -> list[tuple[str]]:
            return connection.execute('select state from fulfilments order by "order"').fetchall()

        waiting = [("sent",), ("cancelled",), ("waits for payment",)]
        wait_until(lambda: states() == waiting, timeout=60, what="two orders to come to their end")
        assert connection.execute("select stream from eventkit.timers").fetchall() == [("order-3",)]
        connection.execute("update eventkit.timers set due_at = now()")
        wait_until(lambda: states()[2] == ("cancelled",), timeout=60, what="the deadline")

        bookings = 'select "order", amount from bookings order by 1, 2'
        wait_until(lambda: len(connection.execute(bookings).fetchall()) == 3, timeout=60, what="the refund")
        assert connection.execute(bookings).fetchall() == [("1", 40), ("2", -50), ("2", 50)]
        why = "select stream, data->>'why' from eventkit.events where type = 'OrderCancelled' order by 1"
        assert connection.execute(why).fetchall() == [
            ("order-2", "nobody goes to Atlantis"),
            ("order-3", "not paid in three days"),
        ]
