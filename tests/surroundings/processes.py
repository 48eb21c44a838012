"""A relay and projectors as operators run them, on one broker, and queries of their databases."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.cli.test_db import eventkit
from tests.process import EventkitProcess
from tests.surroundings.rig import found
from tests.waiting import wait_until

MODELS = "tests.surroundings.read_models"
TIMEOUT = 90  # seconds


class Processes:
    """Starts processes that log into one folder, and ends them; `broker` is the transport's URL."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.broker = broker
        self._folder = folder
        self._stack = ExitStack()
        self._count = 0

    def relay(self, url: str, *words: str) -> EventkitProcess:
        """Start a relay."""
        return self.start(url, "relay", "run", *words)

    def projector(self, url: str, *words: str, name: str = "totals") -> EventkitProcess:
        """Start a projector."""
        return self.start(url, "projector", "run", f"{MODELS}:{name}", *words)

    def start(self, url: str, *words: str) -> EventkitProcess:
        """Start any of them."""
        self._count += 1
        process = EventkitProcess(url, self.broker, self._folder / f"{self._count}.log", *words)
        return self._stack.enter_context(process)

    def close(self) -> None:
        """End all of them."""
        self._stack.close()


@contextmanager
def running(broker: str, folder: Path) -> Iterator[Processes]:
    """Lend processes, and end them."""
    processes = Processes(broker, folder)
    try:
        yield processes
    finally:
        processes.close()


def counted(url: str, orders: int, *, table: str = "totals") -> None:
    """Wait until the read model has so many orders."""
    statement = f"select coalesce(sum(orders), 0)::int from {table}"
    wait_until(lambda: found(url, statement) == [(orders,)], timeout=TIMEOUT, what=f"{orders} orders")


def sent(url: str, *, schema: str = "eventkit") -> None:
    """Wait until the outbox is empty."""
    statement = f"select count(*) from {schema}.outbox"
    wait_until(lambda: found(url, statement) == [(0,)], timeout=TIMEOUT, what="the outbox to be empty")


def command(url: str, *words: str, code: int = 0) -> str:
    """Run a command to its end; return its output."""
    done = eventkit(*words, url=url)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
