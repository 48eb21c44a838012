"""A real RabbitMQ as a child process, with a port mapper of its own, to kill, restart and pause.

From release 4 on every deprecated feature is denied. `scripts/newer.sh` runs the tests on such a release.
"""

import shutil
import socket
import time
from pathlib import Path
from typing import Self

import pika
from pika.exceptions import AMQPError

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from eventkit.transports.rabbitmq.address import RabbitAddress
from tests.servers import ServerFailed, ServerMissing
from tests.servers.child import Child
from tests.servers.given import GivenBroker

LOCAL = "127.0.0.1"
START_TIMEOUT = 90.0
HOW_TO_GET = "RabbitMQ is not on this machine: install it (Debian: `apt-get install rabbitmq-server`)"
CONFIGURATION = """\
listeners.tcp.1 = {host}:{port}
max_message_size = 1048576
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 64000000
log.console = true
log.console.level = warning
log.file = false
"""
# Each may be denied by default in a later release.
DENIED = [
    f"deprecated_features.permit.{name} = false"
    for name in (
        "transient_nonexcl_queues",
        "global_qos",
        "queue_master_locator",
        "amqp_address_v1",
        "amqp_filter_set_bug",
    )
]
_DEPRECATES = 4  # the first release with such features


class GivenRabbit(GivenBroker):
    """A RabbitMQ that runs already."""

    def connection(self) -> pika.BlockingConnection:
        """Return a connection."""
        return pika.BlockingConnection(RabbitAddress(self.url, {}).parameters())


class RabbitServer(Child):
    """One node; `settings` are lines added to its rabbitmq.conf. Its one user may be another than guest."""

    def __init__(self, *settings: str, login: tuple[str, str] = ("guest", "guest")) -> None:
        super().__init__()
        self._login = pika.PlainCredentials(*login)
        self._settings = settings
        self._port, self._dist, self._epmd = free_port(), free_port(), free_port()
        self.url = f"rabbitmq://{LOCAL}:{self._port}"

    def start(self) -> Self:
        """Start it, with the data it had."""
        program, release = _program()
        if self._guard is None:
            self._guard = Guard("eventkit-rabbitmq-")
            login = f"default_user = {self._login.username}", f"default_pass = {self._login.password}"
            lines = [CONFIGURATION.format(host=LOCAL, port=self._port), *login, *self._settings]
            lines += DENIED if release >= _DEPRECATES else []
            (self._guard.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
            self._spawn(["epmd", "-address", LOCAL, "-port", str(self._epmd)], "epmd.log")
        self.pid = self._spawn([str(program)], "rabbitmq.log")
        self._await_answer()
        return self

    def connection(self) -> pika.BlockingConnection:
        """Return a connection."""
        return pika.BlockingConnection(
            pika.ConnectionParameters(LOCAL, self._port, credentials=self._login, socket_timeout=5)
        )

    @property
    def version(self) -> str:
        """The server's release."""
        with self.connection() as connection:
            return str(connection._impl.server_properties["version"])

    def _spawn(self, arguments: list[str], log_name: str) -> int:
        folder = self._running.folder
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": LOCAL,
            "RABBITMQ_NODENAME": f"eventkit{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ALLOW_INPUT": "1",  # so that the script becomes the server, instead of waiting for it
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }
        return self._running.spawn(ServerCommand(arguments=arguments, log=folder / log_name, environment=environment))

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._running.running(self.pid) and time.monotonic() < deadline:
            try:
                self.connection().close()
            except (AMQPError, OSError, socket.gaierror):
                time.sleep(0.1)
            else:
                return
        raise ServerFailed(
            f"RabbitMQ did not start on port {self._port}: {tail(self._running.folder / 'rabbitmq.log')}"
        )


def _program() -> tuple[Path, int]:
    """Return the server's own script and its release: the wrapper of Debian's package changes the user."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found or not shutil.which("epmd"):
        raise ServerMissing(HOW_TO_GET)
    return found[-1], int(found[-1].parts[-3].partition("-")[2].partition(".")[0])
