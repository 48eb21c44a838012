"""Kafka Connect as one process with one connector, which is asked for its state through Connect's own API.

Its replication slot goes with it: a slot that nobody reads would keep the server's WAL forever.
"""

import http.client
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import psycopg

from benchmarks.peers.carrier import OUTBOX, Place, ProcessCarrier, wait
from eventkit.embedded.ports import free_port
from tests.servers import ServerMissing
from tests.servers.connect import ask

_HOST = "127.0.0.1"
_TABLE = f"""
create table if not exists {OUTBOX} (
  id uuid primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null,
  type varchar(255) not null, payload jsonb{{columns}}
)"""
_WORKER = """\
bootstrap.servers={bootstrap}
listeners=http://{host}:{port}
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
plugin.discovery=service_load
connector.client.config.override.policy=All
"""
_SLOT = "from pg_replication_slots where slot_name = %s"


class ConnectCarrier(ProcessCarrier):
    """Connect, started and ended with its connector."""

    def __init__(
        self,
        place: Place,
        java: Sequence[str],
        connector: Mapping[str, str],
        *,
        slot: str,
        columns: Sequence[str] = (),
    ) -> None:
        """Choose a port; `columns` are texts that the outbox has beside the router's own."""
        super().__init__(place, java)
        self._java = java
        self._connector = connector
        self._slot = slot
        self._table = _TABLE.format(columns="".join(f', "{name}" text not null' for name in columns))
        self._port = free_port()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        with psycopg.connect(self.place.database_url, autocommit=True) as connection:
            for end in ("pg_terminate_backend(active_pid, 10000)", "pg_drop_replication_slot(slot_name)"):
                connection.execute(f"select {end} {_SLOT}".encode(), [self._slot])

    def start(self) -> None:
        """Start Connect; return when the database streams to it."""
        self._lay()
        folder = self.guard.folder
        worker = _WORKER.format(bootstrap=self.place.bootstrap, host=_HOST, port=self._port, folder=folder)
        (folder / "worker.properties").write_text(worker)
        lines = [f"{key}={value}\n" for key, value in self._connector.items()]
        (folder / "connector.properties").write_text("".join(lines))
        java, *options = self._java
        main = ["org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "connector.properties"]
        files = [str(folder / name) for name in main[1:]]
        self.spawn([java, f"-Djava.io.tmpdir={folder}", *options, main[0], *files])
        self.reach("RUNNING", streaming=True)

    def reach(self, state: str, *, streaming: bool) -> None:
        """Wait until the connector is in a state."""
        wait(partial(self._is, state, streaming=streaming), f"Debezium's connector, {state}", self)

    def ask(self, method: str, what: str) -> Any:  # noqa: ANN401 JSON
        """Ask Connect about the connector."""
        return ask(self._port, method, f"/connectors/{OUTBOX}{what}")

    def _lay(self) -> None:
        with psycopg.connect(self.place.database_url) as connection:
            level = connection.execute("select current_setting('wal_level')").fetchone()
            if level != ("logical",):
                raise ServerMissing(f"Debezium wants a server with wal_level=logical, and this one has {level}")
            connection.execute(self._table.encode())

    def _is(self, state: str, *, streaming: bool) -> bool:
        try:
            status = self.ask("GET", "/status")
        except (OSError, http.client.HTTPException):
            return False  # Connect is not up yet
        states = {status["connector"]["state"], *(task["state"] for task in status["tasks"])}
        return states == {state} and bool(status["tasks"]) is streaming and self._streams() is streaming

    def _streams(self) -> bool:
        with psycopg.connect(self.place.database_url) as connection:
            found = connection.execute(f"select active {_SLOT}".encode(), [self._slot]).fetchone()
        return bool(found and found[0])


class WarmCarrier(ConnectCarrier):
    """Connect stays up from the first start on; only its connector stops."""

    def start(self) -> None:
        """Start Connect, or resume the connector."""
        if not self.pid:
            super().start()
        else:
            self.ask("PUT", "/resume")
            self.reach("RUNNING", streaming=True)

    def stop(self) -> None:
        """Stop the connector."""
        self.ask("PUT", "/stop")
        self.reach("STOPPED", streaming=False)
