"""The relay and the projector as processes of their own, by an operator's commands; they can be killed.

They end with this process, however it ends, and write their logs to a temporary folder that goes with them.
"""

import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.errors import EventkitError
from examples.flights.servers import Servers

CHECKOUT = Path(__file__).parents[2]
OPTION = "EVENTKIT_TRANSPORT_OPTION_"
EVENTKIT = (sys.executable, "-m", "eventkit.cli")
RELAY = (*EVENTKIT, "relay", "run")
PROJECTOR = (*EVENTKIT, "projector", "run", "examples.flights.read_models:projections")


class DemoFailed(EventkitError):
    """The demo cannot continue."""


class Processes:
    """Named processes; inside a `with`, none of them remains."""

    def __init__(self, servers: Servers) -> None:
        """Start none yet."""
        self._environment = {**os.environ, **servers.environment, "PYTHONPATH": str(CHECKOUT)}
        self._environment |= {f"{OPTION}{name}": value for name, value in servers.process_options.items()}
        self._commands: dict[str, tuple[str, ...]] = {}
        self._running: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Make the folder for the logs."""
        self._guard = Guard("eventkit-flights-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them all, remove the folder."""
        self._guard.close()

    def start(self, name: str, arguments: tuple[str, ...]) -> None:
        """Start a process under a name."""
        self._commands[name] = arguments
        command = ServerCommand(arguments=arguments, log=self._log(name), environment=self._environment)
        self._running[name] = self._guard.spawn(command)

    def kill(self, name: str) -> None:
        """End a process with -9 and return when it is gone."""
        pid = self._running.pop(name)
        self._guard.signal(pid, signal.SIGKILL)
        self._guard.wait(pid, timeout=5)

    def restart(self, name: str) -> None:
        """Start another process with the same command."""
        self.start(name, self._commands[name])

    def check(self) -> None:
        """Raise if a process has ended that nobody killed."""
        for name, pid in self._running.items():
            if not self._guard.running(pid):
                raise DemoFailed(f"the {name} has ended by itself; the end of its log:\n{tail(self._log(name))}")

    def stop(self, *, timeout: float = 5) -> None:
        """Ask them all to end, and raise if one does not in time."""
        for pid in self._running.values():
            self._guard.signal(pid, signal.SIGTERM)
        for name, pid in self._running.items():
            if not self._guard.wait(pid, timeout=timeout):
                raise DemoFailed(
                    f"the {name} did not end within {timeout} s of SIGTERM; its log ends:\n{tail(self._log(name))}"
                )
        self._running.clear()

    def logs(self) -> str:
        """Return how each process's log ends."""
        return "\n".join(f"--- the log of the {name} ends:\n{tail(self._log(name))}" for name in self._commands)

    def _log(self, name: str) -> Path:
        return self._guard.folder / f"{name}.log"
