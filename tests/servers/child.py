"""The common part of the tests' brokers, each a child of a guard: it can be ended, killed and stopped in its tracks."""

import signal

from eventkit.embedded.guard import Guard
from tests.servers import ServerFailed


class Child:
    """A server under a guard, which `start` makes; `pid` is the process that the faults are for."""

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self.pid = 0

    def stop(self) -> None:
        """End it and remove its data."""
        if self._guard:
            self._guard.close()
        self._guard = None

    def kill(self) -> None:
        """Kill it with -9."""
        self._running.signal(self.pid, signal.SIGKILL)
        self._running.wait(self.pid, timeout=60)

    def terminate(self) -> None:
        """Ask it to end, and wait for that."""
        self._running.signal(self.pid, signal.SIGTERM)
        self._running.wait(self.pid, timeout=60)

    def pause(self) -> None:
        """Stop it in its tracks."""
        self._running.signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        self._running.signal(self.pid, signal.SIGCONT)

    @property
    def _running(self) -> Guard:
        if self._guard is None:
            raise ServerFailed(f"this {type(self).__name__} is not started")
        return self._guard
