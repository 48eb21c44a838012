"""A real ActiveMQ that speaks STOMP, as a child process, to kill, restart and pause."""

import shutil
import socket
import time
from typing import Self

from eventkit.embedded.guard import Command, Guard, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed
from tests.servers.child import Child
from tests.servers.jars import ACTIVEMQ, ACTIVEMQ_VERSION

LOCAL = "127.0.0.1"
START_TIMEOUT = 90.0
LARGEST = 1_048_576  # bytes of a message


class ActiveServer(Child):
    """One broker."""

    version = ACTIVEMQ_VERSION

    def __init__(self, *, persistent: bool = True) -> None:
        super().__init__()
        self._persistent = persistent
        self._port = free_port()
        self.url = f"activemq://{LOCAL}:{self._port}"

    def start(self) -> Self:
        """Start it, with the data it had."""
        jars = ACTIVEMQ.folder()
        self._guard = self._guard or Guard("eventkit-activemq-")
        folder = self._guard.folder
        broker = (
            f"broker:(stomp://{LOCAL}:{self._port}?wireFormat.maxDataLength={LARGEST})"
            f"?persistent={str(self._persistent).lower()}&useJmx=false&dataDirectory={folder}/data"
        )
        arguments = [
            shutil.which("java") or "java", "-Xmx512m", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", f"-Dactivemq.home={folder}", f"-Dactivemq.base={folder}",
            "-cp", f"{jars}/*", "org.apache.activemq.console.Main", "start", broker,
        ]  # fmt: skip
        self.pid = self._guard.spawn(Command(arguments=arguments, log=folder / "activemq.log"))
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
