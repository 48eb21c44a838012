"""A real Redis as a child process, durable as eventkit wants it, to kill, restart and pause.

EVENTKIT_TEST_REDIS names another program that is run in its place, such as `valkey-server`.
"""

import os
import shutil
import time
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed, ServerMissing
from tests.servers.child import Child
from tests.servers.given import GivenBroker

LOCAL = "127.0.0.1"
START_TIMEOUT = 30.0
SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "proto-max-bulk-len": "1048576",  # so that something can be too large
}


class GivenRedis(GivenBroker):
    """A Redis that runs already."""

    def client(self) -> Redis:
        """Return a client."""
        return Redis.from_url(self.url, socket_timeout=5)


class RedisServer(Child):
    """One server; `settings` are added to those that eventkit wants."""

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self._settings = {
            **SETTINGS,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._port = free_port()
        self.url = f"redis://{LOCAL}:{self._port}/0"

    def start(self) -> Self:
        """Start it, with the data it had."""
        program = shutil.which(os.environ.get("EVENTKIT_TEST_REDIS", "redis-server"))
        if program is None:
            raise ServerMissing("Redis is not on this machine: install it (Debian: `apt-get install redis-server`)")
        self._guard = self._guard or Guard("eventkit-redis-")
        arguments = [program, "--port", str(self._port), "--bind", LOCAL, "--dir", str(self._guard.folder)]
        for name, value in self._settings.items():
            arguments += [f"--{name}", value]
        self.pid = self._guard.spawn(ServerCommand(arguments=arguments, log=self._guard.folder / "redis.log"))
        self._await_answer()
        return self

    def client(self) -> Redis:
        """Return a client."""
        return Redis(host=LOCAL, port=self._port, socket_timeout=5)

    @property
    def version(self) -> str:
        """The server's release."""
        found = self.client().info("server")
        return f"Valkey {found['valkey_version']}" if "valkey_version" in found else str(found["redis_version"])

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            try:
                if self.client().ping():
                    return
            except RedisError:
                time.sleep(0.02)
        raise ServerFailed(f"Redis did not start on port {self._port}: {tail(self._running.folder / 'redis.log')}")
