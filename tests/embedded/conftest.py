"""A folder for everything temporary, and processes that own a server and can be killed."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PACKAGES = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}{os.pathsep}{sysconfig.get_path('purelib')}",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Owner:
    """A process that owns a server; `family` is it and everything that it has started."""

    def __init__(self, kind: str, room: Path, python: Sequence[str]) -> None:
        command = [*python, "-m", "tests.embedded.owner", kind]
        environment = {**PACKAGES, "TMPDIR": str(room)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url, f"{command} has started no server"
        self.family = [*psutil.Process(self.process.pid).children(recursive=True)]

    def kill(self) -> None:
        """Kill the owner with -9."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """Let the owner stop its server and end."""
        self.process.communicate()

    def guardian(self) -> psutil.Process:
        """Return the process that stands between owner and server."""
        return next(process for process in self.family if "guardian.py" in " ".join(process.cmdline()))

    def await_end_of_family(self) -> None:
        """Wait until everything that the owner started is gone."""
        wait_until(
            lambda: not psutil.wait_procs(self.family, timeout=0)[1], timeout=60, what=f"the end of {self.family}"
        )

    def accepts(self) -> bool:
        """Return whether somebody listens at the server's address."""
        address = urlsplit(self.url)
        with socket.socket() as client:
            return client.connect_ex((address.hostname or "127.0.0.1", address.port)) == 0


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may use, where everything temporary goes; pytest's own is closed to other users."""
    tmp_path_factory.getbasetemp()  # made now, or it would be made in this folder
    with tempfile.TemporaryDirectory(prefix="room-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield folder


@pytest.fixture
def own(room: Path) -> Iterator[Callable[..., Owner]]:
    """Start owners; processes that remain are killed after the test."""
    owners: list[Owner] = []

    def start(kind: str, python: Sequence[str] = (sys.executable,)) -> Owner:
        owners.append(Owner(kind, room, python))
        return owners[-1]

    yield start
    for owner in owners:
        owner.kill()
        for process in owner.family:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
