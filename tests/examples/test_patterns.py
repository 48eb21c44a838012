"""The program of docs/patterns.md, on a real broker: each pattern takes effect once."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg

from tests.servers.redis import RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
TOPICS = [f"shop.{name}" for name in ("order", "card", "price", "desk", "replies")]
WORKERS = [f"examples.patterns:{name}" for name in ("mails", "payments", "desk")]


def test_each_pattern_does_as_its_page_says(database_url: str, redis: RedisServer) -> None:
    """By the commands of its first lines: an event mailed, two cards charged, one price answered and one refused."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": redis.url}
    cli = [sys.executable, "-m", "eventkit.cli"]
    subprocess.run([*cli, "topics", "create", *TOPICS], env=settings, cwd=ROOT, check=True)
    with ExitStack() as stack:
        for process in (["relay", "run"], ["projector", "run", *WORKERS]):
            running = subprocess.Popen([*cli, *process], env=settings, cwd=ROOT)
            stack.callback(stack.enter_context(running).kill)
        program = [sys.executable, "-m", "examples.patterns"]
        told = subprocess.run(program, env=settings, cwd=ROOT, check=True, capture_output=True, text=True, timeout=90)
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))

        done = "select what, number from work_done order by 1, 2"
        wait_until(lambda: len(connection.execute(done).fetchall()) == 4, timeout=60, what="all work")
        assert connection.execute(done).fetchall() == [
            ("charged", "1"),
            ("charged", "2"),
            ("mailed", "1"),
            ("priced", "tea"),
        ]

    assert told.stdout == "Price(article='tea', cents=350), and UnknownArticle(article='dust')\n"
