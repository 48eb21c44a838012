"""A real PostgreSQL server for the demo, tests and first steps: it needs no root and no container.

All its files are in one temporary folder, which is removed with the server (`data=` keeps the database elsewhere).
Clients connect by a socket in that folder. No other user of the machine can enter it, so the socket needs no password.
The server also listens on 127.0.0.1 with a password, which `tcp_url` sets. It is durable (`durable=False` turns fsync
off and keeps the files in memory, where there is room). It ends with the process that made it, also after a kill.
"""

import secrets
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from eventkit.embedded.binaries import Binaries, at, find_binaries
from eventkit.embedded.cluster import Cluster
from eventkit.embedded.guard import Guard
from eventkit.embedded.memory import folder_in_memory
from eventkit.embedded.ports import free_port
from eventkit.errors import EmbeddedUnavailable

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "max_prepared_transactions": "100",
    "max_connections": "300",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
# The settings of a server may be hostile on purpose (`settings=`): its own statements are not subject to them.
_OPTIONS = "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c default_transaction_read_only=off"
START_TIMEOUT = 60.0  # seconds
_CONNECT_TIMEOUT = 2  # seconds
STOP_TIMEOUT = 60.0  # seconds
PORT_ATTEMPTS = 5


class EmbeddedPostgres:
    """A PostgreSQL server as a child process, from `start()` to `stop()` or inside a `with`."""

    def __init__(
        self,
        *,
        data: Path | None = None,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        """Take the options; nothing starts yet.

        `data`: folder for the database, kept after `stop`. `binaries`: PostgreSQL's bin folder. `settings`: settings of
        the server, by name. `durable`: whether fsync is on and the files are on disk.
        """
        self._data = data
        self._in_memory = not durable and data is None
        self._chosen = binaries
        self._settings = {**SETTINGS, **({} if durable else NOT_DURABLE), **(settings or {})}
        self._started: Cluster | None = None
        self.port = 0
        self.pid = 0
        self._password = ""

    @property
    def url(self) -> str:
        """The address of the database `postgres`, as its superuser."""
        return self.database_url("postgres")

    @property
    def version(self) -> str:
        """The server's release, such as "18.4"."""
        return self._started.binaries.version if self._started else self._find().version

    @property
    def running(self) -> bool:
        """Whether the server process is running."""
        return self._started is not None and self._started.guard.running(self.pid)

    @property
    def log(self) -> str:
        """The end of the server's log."""
        return self._cluster.log

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Create a missing database cluster, start the server, and wait for its answer.

        EmbeddedUnavailable when it is already started, or does not start.
        """
        if self._started is not None:
            raise EmbeddedUnavailable(f"this embedded PostgreSQL is already started: {self.url}")
        found = self._find()
        guard = Guard("eventkit-postgres-", parent=folder_in_memory() if self._in_memory else None)
        try:
            self._started = Cluster(guard, found, self._data)
            self._launch(self._started)
        except BaseException:
            guard.close()
            self._started = None
            raise
        return self

    def stop(self) -> None:
        """End the server and its sessions, and remove its folder."""
        if self._started is not None:
            self._started.guard.close()
        self._started, self.pid, self.port, self._password = None, 0, 0, ""

    def crash(self) -> None:
        """End the server at once, without a checkpoint: the next `restart()` has lost all data that was not durable."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Start the server again on the same port and data; stop it first if it is running."""
        self._end(signal.SIGINT)
        self._launch(self._cluster)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database and return its address."""
        self._run(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions."""
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def database_url(self, name: str) -> str:
        """Return the address of a database of this server, through the socket."""
        return self._address(self.port, name)

    def tcp_url(self, name: str = "postgres") -> str:
        """Return the address of a database on 127.0.0.1, with a random password, for clients without Unix sockets."""
        if not self._password:
            self._password = secrets.token_urlsafe(24)
            self._run(sql.SQL("alter role postgres password {}").format(sql.Literal(self._password)))
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{quote(name, safe='')}"

    @property
    def _cluster(self) -> Cluster:
        if self._started is None:
            raise EmbeddedUnavailable("this embedded PostgreSQL is not started: call start() or use it in a `with`")
        return self._started

    def _find(self) -> Binaries:
        return at(self._chosen) if self._chosen else find_binaries()

    def _run(self, statement: sql.Composed) -> None:
        with self._connect(self.url) as connection:
            connection.execute(statement)

    @staticmethod
    def _connect(url: str) -> psycopg.Connection[Any]:
        return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, options=_OPTIONS)

    def _launch(self, cluster: Cluster) -> None:
        """Start the server; at the first start, retry with another port if another process took it."""
        for left in reversed(range(1 if self.port else PORT_ATTEMPTS)):
            port = self.port or free_port()
            place = {"port": str(port), "unix_socket_directories": str(cluster.guard.folder)}
            options = [f"--{name}={value}" for name, value in {**self._settings, **place}.items()]
            self.pid = cluster.guard.spawn(cluster.program("postgres", *options))
            if self._answers(port):
                self.port = port
                return
            if not left or "could not bind" not in cluster.log:
                raise EmbeddedUnavailable(f"PostgreSQL {self.version} did not start on port {port}: {cluster.log}")

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.running:
            try:
                self._connect(self._address(port, "postgres")).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return self.running  # not another server that took this port
        return False

    def _end(self, number: signal.Signals) -> None:
        guard = self._cluster.guard
        guard.signal(self.pid, number)
        if not guard.wait(self.pid, timeout=STOP_TIMEOUT):
            raise EmbeddedUnavailable(
                f"PostgreSQL, process {self.pid}, did not end within {STOP_TIMEOUT:.0f} s of {number.name}: {self.log}"
            )

    def _address(self, port: int, database: str) -> str:
        folder = quote(str(self._cluster.guard.folder), safe="")
        return f"postgresql://postgres@:{port}/{quote(database, safe='')}?host={folder}"
