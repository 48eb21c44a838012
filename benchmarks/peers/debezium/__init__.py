"""Debezium on Kafka Connect: the PostgreSQL connector, logical decoding, the outbox event router.

Twice: as a process that finds a backlog when it starts, as every contestant does; and with a Connect that is up and
warm and has its connector resumed. A JVM compiles while it runs.
"""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.carrier import OUTBOX, Carrier, Place
from benchmarks.peers.contestant import TableOutbox
from benchmarks.peers.debezium.connect import ConnectCarrier, WarmCarrier
from tests.servers.jars import CACHES, fetch

VERSION, CONNECT_VERSION = "3.6.1.Final", "4.3.1"
_JARS = CACHES / f"debezium-{VERSION}"
_SLOT = "eventkit_peers_debezium"
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
    settings = "outbox event router, pgoutput, String converters, -Xmx1g, " + ", ".join(
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

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        return ConnectCarrier(place, _java(), connector(place), slot=_SLOT)


class WarmDebezium(Debezium):
    """The same without the JVM's first seconds."""

    name = "debezium_warm"
    title = f"{Debezium.title}, warm"
    settings = "the same; Connect stays up, its connector is stopped before the backlog is written and resumed after it"

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        return WarmCarrier(place, _java(), connector(place), slot=_SLOT)


def connector(place: Place) -> dict[str, str]:
    """Return the connector's properties."""
    known = conninfo_to_dict(place.database_url)
    return {
        **_CONNECTOR,
        **_TUNED,
        f"transforms.{OUTBOX}.route.topic.replacement": place.topic,
        "database.hostname": str(known["host"]),
        "database.port": str(known.get("port", 5432)),
        "database.user": str(known["user"]),
        "database.password": str(known.get("password", "none")),
        "database.dbname": str(known["dbname"]),
    }


def _java() -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return [shutil.which("java") or "java", "-Xmx1g", "-XX:-UsePerfData", quiet, "-cp", f"{_JARS}/*"]
