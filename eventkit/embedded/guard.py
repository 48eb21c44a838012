"""Starts servers in a temporary folder; a guardian process ends them and removes the folder when this process ends.

Each guard has its own folder. The embedded PostgreSQL and the servers of the tests use it. A guard belongs to the
process that made it: a forked child can neither use nor close it.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eventkit.errors import EmbeddedUnavailable

SCRIPT = Path(__file__).with_name("guardian.py")
LOG_TAIL = 2000  # characters


class Account(NamedTuple):
    """A user and a group of the machine, by number."""

    user: int
    group: int


@dataclass(frozen=True, kw_only=True)
class ServerCommand:
    """A process to start; its output goes to `log`, and `stop_signal` asks it to end."""

    arguments: Sequence[str]
    log: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"})

    def described(self) -> dict[str, object]:
        """Return the command as a request for the guardian."""
        return {
            "command": list(self.arguments),
            "log": str(self.log),
            "account": self.account,
            "stop_signal": self.stop_signal,
            "environment": dict(self.environment),
        }


class Guard:
    """A temporary folder and the processes in it; `close()` ends them and removes it."""

    def __init__(self, prefix: str, *, parent: Path | None = None) -> None:
        """Create the folder in `parent`, by default in the one for temporary files, and start its guardian."""
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT), str(self._owner), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal and a kill of the owner's group must not reach it
            cwd="/",
        )

    def run(self, command: ServerCommand) -> None:
        """Run a command and wait for its end; EmbeddedUnavailable with its output if it fails."""
        code = self._ask(do="run", **command.described())["code"]
        if code != 0:
            line = " ".join(command.arguments)
            raise EmbeddedUnavailable(f"`{line}` failed with exit code {code}: {tail(command.log)}")

    def spawn(self, command: ServerCommand) -> int:
        """Start a server and return its process id."""
        return int(self._ask(do="spawn", **command.described())["pid"])

    def running(self, pid: int) -> bool:
        """Return whether a server is running."""
        return self._ask(do="poll", pid=pid)["code"] is None

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a server; do nothing if it has ended."""
        self._ask(do="signal", pid=pid, signal=number)

    def wait(self, pid: int, *, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end of a server; return whether it has ended."""
        deadline = time.monotonic() + timeout
        while self.running(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """End the servers and remove the folder."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._guardian.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)  # for a guardian that was killed

    def _ask(self, **request: object) -> dict[str, Any]:
        if os.getpid() != self._owner:
            raise EmbeddedUnavailable(f"the servers in {self.folder} belong to process {self._owner}, not to this fork")
        with self._lock:
            answer = self._exchange(json.dumps(request).encode() + b"\n")
        if "error" in answer:
            raise EmbeddedUnavailable(f"cannot start {request.get('command')}: {answer['error']}")
        return answer

    def _exchange(self, line: bytes) -> dict[str, Any]:
        requests, answers = self._guardian.stdin, self._guardian.stdout
        if requests is None or answers is None:
            raise AssertionError("the guardian was started with both pipes")
        try:
            requests.write(line)
            requests.flush()
            answer: dict[str, Any] = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            raise EmbeddedUnavailable(f"the guardian of {self.folder} has ended: start its servers again") from error
        return answer


def unprivileged() -> Account | None:
    """Return the account for servers that refuse to run as root: `nobody` for root, else None for the current user."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def tail(log: Path) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-LOG_TAIL:].strip() if log.exists() else "(no output)"
