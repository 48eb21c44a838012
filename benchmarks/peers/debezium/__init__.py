"""Debezium on Kafka Connect: the PostgreSQL connector, logical decoding, the outbox event router.

Connect stays up for a whole turn. Between the warm-up and the backlog its connector is stopped and resumed through
Connect's own API, so that it drains with a warm JVM.
"""

import http
import http.client
import json
import shutil
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.contestant import TableOutbox
from benchmarks.peers.road import OUTBOX, Place, ProcessRoad, Road, wait
from eventkit.embedded.ports import free_port
from tests.servers.jars import CACHES, fetch

VERSION, CONNECT_VERSION = "3.6.1.Final", "4.3.1"
_JARS = CACHES / f"debezium-{VERSION}"
_SLOT = "eventkit_peers_debezium"
_TABLE = f"""
create table {OUTBOX} (
  id uuid primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null,
  type varchar(255) not null, payload jsonb
)"""
_WORKER = """\
bootstrap.servers={bootstrap}
listeners=http://127.0.0.1:{port}
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
plugin.discovery=service_load
connector.client.config.override.policy=All
"""
_TUNED = {
    "extended.headers.enabled": "false",
    "poll.interval.ms": "2",
    "max.batch.size": "20480",
    "max.queue.size": "81920",
    "producer.override.acks": "all",
    "producer.override.enable.idempotence": "true",
    "producer.override.max.in.flight.requests.per.connection": "5",
    "producer.override.linger.ms": "0",
    "producer.override.batch.size": "524288",
}
_CONNECTOR = {
    "name": OUTBOX,
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": "1",
    "topic.prefix": "peers",
    "plugin.name": "pgoutput",
    "slot.name": _SLOT,
    "publication.name": _SLOT,
    "publication.autocreate.mode": "filtered",
    "table.include.list": f"public.{OUTBOX}",
    "snapshot.mode": "no_data",
    "tombstones.on.delete": "false",
    "transforms": OUTBOX,
    f"transforms.{OUTBOX}.type": "io.debezium.transforms.outbox.EventRouter",
}


class Debezium:
    """The yardstick."""

    name = "debezium"
    title = f"Debezium {VERSION} on Kafka Connect {CONNECT_VERSION}"
    settings = "outbox event router, pgoutput, String converters, Connect warm; " + ", ".join(
        f"{key.removeprefix('producer.override.')}={value}" for key, value in _TUNED.items()
    )
    outbox = TableOutbox(
        OUTBOX,
        {
            "id": "gen_random_uuid()",
            "aggregatetype": "'order'",
            "aggregateid": "{key}",
            "type": "'OrderPlaced'",
            "payload": "({payload})::jsonb",
        },
    )

    def prepare(self) -> None:
        """Fetch the jars."""
        fetch(Path(__file__).with_name("pom.xml"), _JARS, f"Debezium {VERSION}")

    def road(self, place: Place) -> AbstractContextManager[Road]:
        return DebeziumRoad(place)


class DebeziumRoad(ProcessRoad):
    """Kafka Connect with one connector; its replication slot goes with it."""

    def __init__(self, place: Place) -> None:
        """Choose a port."""
        super().__init__(place, ["Kafka Connect"])
        self._port = free_port()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        with psycopg.connect(self.place.database_url, autocommit=True) as connection:
            end = "select pg_terminate_backend(active_pid, 10000) from pg_replication_slots where slot_name = %s"
            drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s"
            for statement in (end, drop):
                connection.execute(statement, [_SLOT])

    def start(self) -> None:
        """Start Connect, or resume the connector; return when the database streams to it."""
        if self.pid:
            self._ask("PUT", "/resume")
        else:
            with psycopg.connect(self.place.database_url) as connection:
                connection.execute(_TABLE)
            self.spawn(self._command())
        wait(partial(self._is, "RUNNING", streaming=True), "Debezium's connector", self)

    def stop(self) -> None:
        """Stop the connector; Connect lives on."""
        self._ask("PUT", "/stop")
        wait(partial(self._is, "STOPPED", streaming=False), "the end of Debezium's connector", self)

    def _command(self) -> list[str]:
        folder = self.guard.folder
        known = conninfo_to_dict(self.place.database_url)
        connector = {
            **_CONNECTOR,
            **_TUNED,
            f"transforms.{OUTBOX}.route.topic.replacement": self.place.topic,
            "database.hostname": str(known["host"]),
            "database.port": str(known.get("port", 5432)),
            "database.user": str(known["user"]),
            "database.password": str(known.get("password", "none")),
            "database.dbname": str(known["dbname"]),
        }
        (folder / "worker.properties").write_text(
            _WORKER.format(bootstrap=self.place.bootstrap, port=self._port, folder=folder)
        )
        (folder / "connector.properties").write_text("".join(f"{key}={value}\n" for key, value in connector.items()))
        options = ["-Xmx1g", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData"]
        main = ["org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "connector.properties"]
        files = [str(folder / name) for name in main[1:]]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [shutil.which("java") or "java", *options, quiet, "-cp", f"{_JARS}/*", main[0], *files]

    def _is(self, state: str, *, streaming: bool) -> bool:
        try:
            status = self._ask("GET", "/status")
        except (OSError, http.client.HTTPException):
            return False  # Connect is not up yet
        states = {status.get("connector", {}).get("state"), *(task["state"] for task in status.get("tasks", []))}
        return states == {state} and bool(status["tasks"]) is streaming and self._streams() is streaming

    def _streams(self) -> bool:
        with psycopg.connect(self.place.database_url) as connection:
            found = connection.execute(
                "select active from pg_replication_slots where slot_name = %s", [_SLOT]
            ).fetchone()
        return bool(found and found[0])

    def _ask(self, method: str, what: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, f"/connectors/{OUTBOX}{what}")
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise http.client.HTTPException(f"Connect answers {method} {what} with {response.status}: {text!r}")
        answer: dict[str, Any] = json.loads(text or b"{}")
        return answer
