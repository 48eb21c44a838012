"""eventkit as operators run it: a process of its own, to be killed, hung, asked to end and restarted."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
_OPTION = "EVENTKIT_TRANSPORT_OPTION_"


class EventkitProcess:
    """`eventkit WORDS` on a database and a broker, its log in a file; `options` are the transport's."""

    def __init__(
        self, database_url: str, transport_url: str, log: Path, *words: str, options: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._given = {**os.environ, "EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": transport_url}
        self._given |= {f"{_OPTION}{name}": value for name, value in (options or {}).items()}
        self._command = [sys.executable, "-m", "eventkit.cli", *words]
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

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; the log is continued."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._given, cwd=ROOT, stderr=log)

    def kill(self) -> None:
        """End it with -9."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Stop it in its tracks."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, and wait for that."""
        self.signal(signal.SIGTERM)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def log(self) -> str:
        """Return the log of the process."""
        return self._log.read_text()

    def says(self, words: str, *, timeout: float = 60) -> None:
        """Wait until its log has the words."""
        wait_until(lambda: words in self.log(), timeout=timeout, what=f"{words!r} in the log:\n{self.log()}")
