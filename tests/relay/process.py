"""A relay as operators run it: a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_until


class RelayProcess:
    """`eventkit relay run` on a database and a broker, its log in a file."""

    def __init__(self, database_url: str, transport_url: str, log: Path, *options: str) -> None:
        self._log = log
        self._given = {**os.environ, "EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": transport_url}
        self._command = [sys.executable, "-m", "eventkit.cli", "relay", "run", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; the log goes on where it was."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._given, stderr=log)

    def kill(self) -> None:
        """End it with -9."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout: float = 10) -> int:
        """Return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def log(self) -> str:
        """Return what it has said."""
        return self._log.read_text()

    def says(self, words: str, *, timeout: float = 20) -> None:
        """Wait until its log has the words."""
        wait_until(lambda: words in self.log(), timeout=timeout, what=f"{words!r} in the log:\n{self.log()}")
