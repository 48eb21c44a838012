"""Kafka Connect with Debezium: one worker in distributed mode as a child process, spoken to by its own API."""

import http
import http.client
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed
from tests.servers.child import Child
from tests.servers.jars import DEBEZIUM, DEBEZIUM_VERSION, QUICK
from tests.servers.kafka import LOCAL

_START_TIMEOUT = 120.0
_WORKER = """\
bootstrap.servers={bootstrap}
group.id={group}
listeners=http://{host}:{port}
config.storage.topic={group}-configs
offset.storage.topic={group}-offsets
status.storage.topic={group}-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
exactly.once.source.support=enabled
scheduled.rebalance.max.delay.ms=0
session.timeout.ms=6000
heartbeat.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
plugin.discovery=service_load
"""


def ask(port: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 JSON
    """Ask the API of a worker on this machine; HTTPException where it refuses."""
    connection = http.client.HTTPConnection(LOCAL, port, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise http.client.HTTPException(f"{method} {path}: {response.status} {answer.decode()}")
    return json.loads(answer or b"null")


class ConnectServer(Child):
    """A worker of a cluster of its own; `start` again after a kill goes on with its connectors."""

    version = DEBEZIUM_VERSION

    def __init__(self, bootstrap: str, *, heap: str = "512m") -> None:
        """Choose a port; nothing runs yet."""
        super().__init__()
        self._bootstrap = bootstrap
        self._heap = heap
        self._port = free_port()
        self._cluster = f"connect-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        """Start the worker; `create` waits until it answers."""
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the worker; return when its API answers."""
        self.begin()
        self.wait_for(self._answers, "an answer of its API")
        return self

    def begin(self) -> None:
        """Start the worker, and wait for nothing."""
        jars = DEBEZIUM.folder()
        if self._guard is None:
            self._guard = Guard("eventkit-connect-")
        folder = self._guard.folder
        known = {"bootstrap": self._bootstrap, "group": self._cluster, "host": LOCAL, "port": self._port}
        (folder / "worker.properties").write_text(_WORKER.format(**known))
        options = [f"-Xmx{self._heap}", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData", *QUICK]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        main = ["org.apache.kafka.connect.cli.ConnectDistributed", str(folder / "worker.properties")]
        command = [shutil.which("java") or "java", *options, quiet, "-cp", f"{jars}/*", *main]
        self.pid = self._guard.spawn(ServerCommand(arguments=command, log=folder / "connect.log"))

    def create(self, connector: Mapping[str, Any]) -> None:
        """Create a connector, as its API takes it; again while the worker joins its group."""
        self.wait_for(lambda: self._accepts("POST", "/connectors", connector), "the new connector")

    def delete(self, name: str) -> None:
        """Delete a connector."""
        self.ask("DELETE", f"/connectors/{name}")

    def state(self, name: str) -> str:
        """Return the state of a connector's one task, with the trace of a failed one; "" while it has none."""
        try:
            tasks = self.ask("GET", f"/connectors/{name}/status")["tasks"]
        except (OSError, http.client.HTTPException):
            return ""
        return f"{tasks[0]['state']} {tasks[0].get('trace', '')}".strip() if tasks else ""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 JSON
        """Ask the API; HTTPException where it refuses."""
        return ask(self._port, method, path, body)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, as long as the worker lives."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not condition():
            if time.monotonic() > deadline or not self._running.running(self.pid):
                raise ServerFailed(f"Kafka Connect: no sign of {what}: {self.log}")
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """The end of the worker's output."""
        return tail(self._running.folder / "connect.log")

    def _answers(self) -> bool:
        return self._accepts("GET", "/connectors", None)

    def _accepts(self, method: str, path: str, body: Mapping[str, Any] | None) -> bool:
        try:
            self.ask(method, path, body)
        except OSError:
            return False
        except http.client.HTTPException as error:
            if ": 400 " in str(error):
                raise
            return ": 409 " in str(error) and "already exists" in str(error)
        return True
