"""`gunicorn --preload`: one process loads the application, and forks workers that run it."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from eventkit.embedded.ports import free_port
from eventkit.transports import open_transport
from tests.servers.redis import GivenRedis, RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = ("gunicorn", "--preload", "--workers", "2", "--worker-class", "asgi", "tests.integrations.preloaded_app:app")


class Server:
    """A running gunicorn; each call has a connection of its own, so that any worker may answer."""

    def __init__(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.url = url
        self.process = process

    def ask(self, method: str, path: str) -> httpx.Response:
        """Send a request."""
        return httpx.request(method, self.url + path, timeout=60)

    def workers_with(self, article: str) -> set[int]:
        """Return the processes, of some that answer, that hold the article's price."""
        return {one["pid"] for one in self._answers() if article in one["prices"]}

    def workers(self) -> set[int]:
        """Return the processes, of some that answer."""
        return {one["pid"] for one in self._answers()}

    def _answers(self) -> list[Any]:
        return [self.ask("GET", "/process").json() for _ in range(10)]

    def is_up(self) -> bool:
        """Return whether a worker answers."""
        try:
            return self.ask("GET", "/process").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def server(database_url: str, redis: RedisServer | GivenRedis) -> Iterator[Server]:
    """The FastAPI example under gunicorn, which has loaded it before it forked two workers."""
    with closing(open_transport(redis.url)) as transport:
        transport.create_topics(["shop.price"], partitions=1)
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": redis.url}
    subprocess.run([sys.executable, "-m", "examples.frameworks.fastapi_shop"], env=settings, cwd=ROOT, check=True)
    port = free_port()
    command = [sys.executable, "-m", *PROGRAM, "--bind", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=settings, cwd=ROOT) as process:
        server = Server(f"http://127.0.0.1:{port}", process)
        try:
            wait_until(server.is_up)
            wait_until(lambda: len(server.workers()) == 2, what="both workers")  # one that begins later hears less
            yield server
        finally:
            process.terminate()


@pytest.mark.timeout(600)
def test_every_worker_hears_and_sends_and_so_does_the_one_that_replaces_it(server: Server, database_url: str) -> None:
    """A price that one worker sends is in all of them, also after a kill; orders are events; the end is clean."""
    tea, milk = f"tea-{uuid.uuid4().hex}", f"milk-{uuid.uuid4().hex}"
    assert server.ask("PUT", f"/prices/{tea}/350").status_code == 202
    wait_until(lambda: len(server.workers_with(tea)) == 2)
    killed = min(server.workers_with(tea))
    os.kill(killed, signal.SIGKILL)

    def replaced() -> set[int]:
        server.ask("PUT", f"/prices/{milk}/120")
        found = server.workers_with(milk)
        return found if len(found) == 2 and killed not in found else set()

    wait_until(replaced)
    order = server.ask("POST", f"/orders/{milk}")
    server.process.terminate()

    assert order.status_code == 201
    assert server.process.wait(120) == 0
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select stream, data->>'article' from eventkit.events").fetchall()
    assert found == [(f"order-{order.json()}", milk)]
