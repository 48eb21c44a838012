"""A real schema registry with Confluent's API, as a child process, to stop in its tracks and to kill."""

import shutil
import time
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed
from tests.servers.child import Child
from tests.servers.jars import APICURIO, APICURIO_VERSION, QUICK

START_TIMEOUT = 240.0
PATH = "/apis/ccompat/v7"


class ApicurioServer(Child):
    """Apicurio Registry, whose schemas are in its memory alone; `url` is that of Confluent's API."""

    version = APICURIO_VERSION

    def __init__(self) -> None:
        super().__init__()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}{PATH}"

    def begin(self) -> Self:
        """Start it without waiting for it: it takes half a minute, in which other tests run."""
        jars = APICURIO.folder()
        self._guard = Guard("eventkit-apicurio-")
        folder = self._guard.folder
        arguments = [
            shutil.which("java") or "java", "-Xmx384m", *QUICK, "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={folder}", f"-Dquarkus.http.port={self._port}", "-Dquarkus.http.host=127.0.0.1",
            "-Dquarkus.log.level=WARN", "-jar", f"{jars}/apicurio-registry-app-{APICURIO_VERSION}-runner.jar",
        ]  # fmt: skip
        self.pid = self._guard.spawn(ServerCommand(arguments=arguments, log=folder / "apicurio.log"))
        return self

    def wait(self) -> Self:
        """Wait until it answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._running.running(self.pid) and time.monotonic() < deadline:
            try:
                with urlopen(f"{self.url}/subjects", timeout=5):  # noqa: S310 its own address
                    return self
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.1)
        raise ServerFailed(f"Apicurio did not start: {tail(self._running.folder / 'apicurio.log')}")

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        return self.begin().wait()
