"""A real ActiveMQ that speaks STOMP, as a child process, to kill, restart and pause."""

import shutil
import socket
import time
from pathlib import Path
from typing import NamedTuple, Self

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed
from tests.servers.certificate import SECRET, Certificate
from tests.servers.child import Child
from tests.servers.jars import ACTIVEMQ, ACTIVEMQ_VERSION, QUICK

LOCAL = "127.0.0.1"
START_TIMEOUT = 90.0
SECURED = Path(__file__).with_name("SecuredBroker.java")
LOGIN = "login.properties"
LARGEST = 1_048_576  # bytes of a message


class Secured(NamedTuple):
    """A port that speaks TLS, and a user."""

    port: int
    certificate: Certificate
    user: str
    password: str

    def options(self, folder: Path) -> list[str]:
        """Write down the user, and return the options of the broker's Java."""
        (folder / LOGIN).write_text(f"user={self.user}\npassword={self.password}\n")
        store = self.certificate.store
        return [f"-Djavax.net.ssl.keyStore={store}", f"-Djavax.net.ssl.keyStorePassword={SECRET}"]


class ActiveServer(Child):
    """One broker; `secured` says who else may get in, and how, `quick` whether it starts sooner and carries less."""

    version = ACTIVEMQ_VERSION

    def __init__(self, *, persistent: bool = True, secured: Secured | None = None, quick: bool = True) -> None:
        super().__init__()
        self._persistent = persistent
        self._secured = secured
        self._quick = QUICK if quick else ()
        self._port = free_port()
        self.url = f"activemq://{LOCAL}:{self._port}"

    def start(self) -> Self:
        """Start it, with the data it had."""
        jars = ACTIVEMQ.folder()
        self._guard = self._guard or Guard("eventkit-activemq-")
        folder = self._guard.folder
        more = f",stomp+ssl://{LOCAL}:{self._secured.port}" if self._secured else ""
        broker = (
            f"broker:(stomp://{LOCAL}:{self._port}?wireFormat.maxDataLength={LARGEST}{more})"
            f"?persistent={str(self._persistent).lower()}&useJmx=false&dataDirectory={folder}/data"
        )
        options = self._secured.options(folder) if self._secured else []
        program = [str(SECURED)] if self._secured else ["org.apache.activemq.console.Main", "start"]
        login = [str(folder / LOGIN)] if self._secured else []
        arguments = [
            shutil.which("java") or "java", *self._quick, "-Xmx512m", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", f"-Dactivemq.home={folder}", f"-Dactivemq.base={folder}",
            *options, "-cp", f"{jars}/*", *program, broker, *login,
        ]  # fmt: skip
        self.pid = self._guard.spawn(ServerCommand(arguments=arguments, log=folder / "activemq.log"))
        self._await_answer()
        return self

    def _answers(self) -> bool:
        with socket.create_connection((LOCAL, self._port), 1) as connection:
            connection.sendall(b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")
            return connection.recv(9) == b"CONNECTED"

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._running.running(self.pid) and time.monotonic() < deadline:
            try:
                if self._answers():
                    return
            except OSError:
                time.sleep(0.05)
        raise ServerFailed(
            f"ActiveMQ did not start on port {self._port}: {tail(self._running.folder / 'activemq.log')}"
        )
