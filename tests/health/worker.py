"""A worker process with `--serve`, and requests to its endpoint."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
# A loop may work for three seconds instead of thirty, so that a test sees what a long wait does.
PROGRAM = """
from eventkit.observability import liveness
liveness.WORK_LIMIT = 3.0
from eventkit.cli import main
main()
"""
WORK_LIMIT = 3.0


class Worker:
    """`eventkit WORDS --serve 0` with a short limit of work, its log in a file."""

    def __init__(
        self, database: str, broker: str, log: Path, *words: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Start it, and wait for its address; `more` are variables of its environment."""
        settings = {**os.environ, "EVENTKIT_DATABASE_URL": database, "EVENTKIT_TRANSPORT_URL": broker, **(more or {})}
        self._log = log
        with log.open("wb") as file:
            command = [sys.executable, "-c", PROGRAM, *words, "--serve", "0"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=settings, stderr=file)
        self.port = int(wait_until(lambda: self._says(r"on http://127\.0\.0\.1:(\d+)"), what=f"its address in {log}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """The log of the process."""
        return self._log.read_text()

    def _says(self, pattern: str) -> str:
        found = re.search(pattern, self.log)
        return found[1] if found else ""

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a path."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, response.read().decode()
        connection.close()
        return found

    def status(self, path: str) -> int:
        """Return the status of a path."""
        return self.get(path)[0]

    def checks(self) -> dict[str, Any]:
        """Return the checks of /readyz."""
        found: dict[str, Any] = json.loads(self.get("/readyz")[1])["checks"]
        return found

    def loops(self) -> dict[str, Any]:
        """Return the loops of /livez by name."""
        return {each["loop"]: each for each in json.loads(self.get("/livez")[1])["loops"]}

    def metric(self, sample: str) -> float | None:
        """Return the value of a sample, with its labels as in the text; None where it is missing."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def becomes(self, path: str, status: int) -> None:
        """Wait until a path has a status."""
        wait_until(lambda: self.status(path) == status, timeout=90, what=f"{path} {status}: {self.get(path)}")

    def fails(self, check: str) -> None:
        """Wait until a check of /readyz has failed, and /readyz with it."""
        wait_until(lambda: self.has_failed(check), timeout=90, what=f"{check} to fail: {self.get('/readyz')}")
        assert self.status("/readyz") == 503

    def has_failed(self, check: str) -> bool:
        """Whether a check of /readyz has failed."""
        found = self.checks().get(check)
        return found is not None and not found["ok"]


def freeze(pid: int) -> list[int]:
    """Stop a server with all its processes; return them."""
    server = psutil.Process(pid)
    frozen = [pid, *(child.pid for child in server.children(recursive=True))]
    for each in frozen:
        os.kill(each, signal.SIGSTOP)
    return frozen


def thaw(frozen: list[int]) -> None:
    """Let the processes of a server continue."""
    for each in reversed(frozen):
        os.kill(each, signal.SIGCONT)
