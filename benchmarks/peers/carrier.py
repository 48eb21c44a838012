"""A contestant's process: started, stopped and started again, with its log at hand, and ended with its owner."""

import signal
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec
import psycopg

from eventkit.embedded.guard import Guard, ServerCommand, tail
from tests.servers import ServerFailed

OUTBOX = "outbox"  # the table's name, wherever it can be chosen
_TIMEOUT = 60.0  # seconds for a start or an end


class Place(msgspec.Struct, frozen=True):
    """One turn's database and topic."""

    database_url: str
    bootstrap: str
    topic: str


class Carrier(Protocol):
    """A process that carries events from an outbox to a topic."""

    @property
    def pid(self) -> int:
        """Return the process that is measured."""

    def start(self) -> None:
        """Start it, or continue after `stop`; return when events can be written."""

    def stop(self) -> None:
        """Let it come to a clean end, or rest."""

    def check(self) -> None:
        """Raise with the end of its log where it has ended by itself."""


class ProcessCarrier:
    """A program that runs until SIGTERM; it makes its own outbox, in which nothing is written before it is there."""

    def __init__(
        self,
        place: Place,
        arguments: Sequence[str],
        *,
        table: str = OUTBOX,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet."""
        self._arguments = arguments
        self._environment = environment or {}
        self._table = table
        self.place = place
        self.pid = 0

    def __enter__(self) -> Self:
        self.guard = Guard("eventkit-peer-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.guard.close()

    def start(self) -> None:
        """Start it."""
        self.spawn(self._arguments)
        wait(self._has_outbox, f"the outbox of {self._arguments[0]}", self)

    def stop(self) -> None:
        """Send SIGTERM, and in the end SIGKILL."""
        self.check()
        self.guard.signal(self.pid, signal.SIGTERM)
        if not self.guard.wait(self.pid, timeout=_TIMEOUT):
            self.guard.signal(self.pid, signal.SIGKILL)
            self.guard.wait(self.pid, timeout=_TIMEOUT)

    def spawn(self, arguments: Sequence[str]) -> None:
        """Start a program, whose output is the log."""
        plain = ServerCommand(arguments=arguments, log=self.guard.folder / "log")
        self.pid = self.guard.spawn(
            ServerCommand(arguments=arguments, log=plain.log, environment={**plain.environment, **self._environment})
        )

    def check(self) -> None:
        """Raise where it has ended by itself."""
        if not self.guard.running(self.pid):
            raise ServerFailed(f"{self._arguments[0]} has ended by itself: {self.log}")

    @property
    def log(self) -> str:
        """The end of its output."""
        return tail(self.guard.folder / "log")

    def _has_outbox(self) -> bool:
        with psycopg.connect(self.place.database_url) as connection:
            found = connection.execute("select to_regclass(%s) is not null", [self._table]).fetchone()
        return bool(found and found[0])


class Condition(Protocol):
    """Something to wait for."""

    def __call__(self) -> bool:
        """Return whether it is so."""


def wait(condition: Condition, what: str, carrier: Carrier) -> None:
    """Wait until a condition holds, as long as the process lives."""
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        carrier.check()
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what}: not there within {_TIMEOUT:g} s")
        time.sleep(0.05)
