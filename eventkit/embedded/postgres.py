"""A real PostgreSQL of one's own for the demo, the tests and first steps: no root, no container, nothing left behind.

Everything is in one temporary folder that goes with the server (`data=` keeps the database elsewhere). The server listens on 127.0.0.1
only, trusts everybody there, is durable (`durable=False` turns fsync off), and ends with the process that made it, however that ends.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from eventkit.embedded.binaries import Binaries, at, find_binaries
from eventkit.embedded.guard import Account, Command, Guard, tail, unprivileged
from eventkit.embedded.ports import free_port
from eventkit.errors import EmbeddedUnavailable

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path must stay below 108 bytes, a temporary folder's may not
    "wal_level": "logical",
    "max_prepared_transactions": "100",
    "max_connections": "300",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
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
        """Choose: `data` is a folder to keep, `binaries` a bin folder, `settings` go to the server as they are."""
        self._data = data
        self._chosen = binaries
        self._settings = {**SETTINGS, **({} if durable else NOT_DURABLE), **(settings or {})}
        self._guard: Guard | None = None
        self._binaries: Binaries | None = None
        self._account: Account | None = None
        self.port = 0
        self.pid = 0

    @property
    def url(self) -> str:
        """The address of the database `postgres`, as its superuser."""
        return self.database_url("postgres")

    @property
    def version(self) -> str:
        """The server's release, such as "18.4"."""
        return (self._binaries or self._find()).version

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._guard is not None and self.pid != 0 and self._guard.running(self.pid)

    @property
    def log(self) -> str:
        """The end of the server's log."""
        return tail(self._log)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> Self:
        """Make a database cluster if there is none, start the server, and return when it answers."""
        if self._guard is None:
            self._prepare()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, dropping its sessions, and remove its folder."""
        if self._guard is None:
            return
        if self.pid and self._guard.running(self.pid):
            self._guard.signal(self.pid, signal.SIGINT)
            self._guard.wait(self.pid, timeout=STOP_TIMEOUT)
        self._guard.close()
        self._guard, self._binaries, self.pid, self.port = None, None, 0, 0

    def crash(self) -> None:
        """End the server at once, without a checkpoint: what it had not made durable is gone at the next `restart()`."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Start again on the same port and data, after `crash()` or from running."""
        self._end(signal.SIGINT)
        self._launch()

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database and return its address."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
            connection.execute(statement)
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, with the sessions in it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def database_url(self, name: str) -> str:
        """Return the address of a database of this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    @property
    def _log(self) -> Path:
        return self._running_guard.folder / "postgres.log"

    @property
    def _cluster(self) -> Path:
        return self._data.resolve() if self._data else self._running_guard.folder / "data"

    @property
    def _running_guard(self) -> Guard:
        if self._guard is None:
            raise EmbeddedUnavailable("this embedded PostgreSQL is not started: call start() or use it in a `with`")
        return self._guard

    def _find(self) -> Binaries:
        return at(self._chosen) if self._chosen else find_binaries()

    def _prepare(self) -> None:
        found = self._find()
        self._guard = Guard("eventkit-postgres-")
        try:
            self._account = unprivileged()
            self._binaries = found.reachable_from(self._guard.folder) if self._account else found
            self._initialise()
        except BaseException:
            self.stop()
            raise

    def _initialise(self) -> None:
        cluster, guard = self._cluster, self._running_guard
        if (cluster / "PG_VERSION").exists():
            self._refuse_other_release()
            return
        cluster.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account:
            os.chown(guard.folder, *self._account)
            os.chown(cluster, *self._account)
        command = self._program(
            "initdb",
            "-D",
            str(cluster),
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
        )
        guard.run(command)

    def _refuse_other_release(self) -> None:
        release = (self._cluster / "PG_VERSION").read_text().strip()
        if release != str(self._running_binaries.major):
            raise EmbeddedUnavailable(
                f"{self._cluster} is data of PostgreSQL {release}, the binaries in {self._running_binaries.folder} are "
                f"{self._running_binaries.version}: take another folder, or binaries of release {release}"
            )

    @property
    def _running_binaries(self) -> Binaries:
        if self._binaries is None:
            raise EmbeddedUnavailable("this embedded PostgreSQL is not started: call start() or use it in a `with`")
        return self._binaries

    def _program(self, name: str, *arguments: str) -> Command:
        return Command(
            arguments=[str(self._running_binaries.folder / name), *arguments],
            log=self._log,
            account=self._account,
            stop_signal=signal.SIGINT,
        )

    def _launch(self) -> None:
        """Start the server; a port that was chosen but got taken in between is chosen anew."""
        attempts = 1 if self.port else PORT_ATTEMPTS
        for attempt in range(attempts):
            port = self.port or free_port()
            self.pid = self._running_guard.spawn(self._server(port))
            if self._answers(port):
                self.port = port
                return
            if attempt + 1 == attempts or "could not bind" not in self.log:
                raise EmbeddedUnavailable(f"PostgreSQL {self.version} did not start on port {port}: {self.log}")

    def _server(self, port: int) -> Command:
        settings = {**self._settings, "port": str(port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return self._program("postgres", "-D", str(self._cluster), *options)

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.running:
            try:
                psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return self.running  # not another server that took this port
        return False

    def _end(self, number: signal.Signals) -> None:
        guard = self._running_guard
        guard.signal(self.pid, number)
        if not guard.wait(self.pid, timeout=STOP_TIMEOUT):
            raise EmbeddedUnavailable(
                f"PostgreSQL (process {self.pid}) did not end within {STOP_TIMEOUT:.0f} s of {number.name}: {self.log}"
            )
