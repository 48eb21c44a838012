"""Debezium on Kafka Connect: the PostgreSQL connector, logical decoding, the outbox event router.

Three times: as a process that finds a backlog when it starts, as every contestant does; the same with eventkit's
attributes as headers; and with a Connect that is up and warm and has its connector resumed. A JVM compiles while it
runs.
"""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.carrier import OUTBOX, Carrier, Place
from benchmarks.peers.contestant import TableOutbox
from benchmarks.peers.debezium.connect import ConnectCarrier, WarmCarrier
from tests.servers.jars import DEBEZIUM, KAFKA_VERSION
from tests.servers.jars import DEBEZIUM_VERSION as VERSION

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
_ATTRIBUTES = {  # of eventkit's seven headers all but the id, which the router sends under a name of its own
    "ce_specversion": "'1.0'",
    "ce_source": "'bench'",
    "ce_type": "'OrderPlaced'",
    "ce_time": """to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "ce_streamversion": "'1'",
    "content-type": "'application/json'",
}


class Debezium:
    """The yardstick."""

    name = "debezium"
    title = f"Debezium {VERSION} on Kafka Connect {KAFKA_VERSION}"
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
    attributes: ClassVar[Sequence[str]] = ()  # columns that are sent as headers of the same names

    def prepare(self) -> None:
        """Fetch the jars."""
        DEBEZIUM.fetch()

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        return ConnectCarrier(place, _java(), connector(place, self.attributes), slot=_SLOT, columns=self.attributes)


class DebeziumHeaders(Debezium):
    """The same with as many headers as eventkit sends."""

    name = "debezium_headers"
    title = f"{Debezium.title}, seven headers"
    settings = "the same, with eventkit's attributes in columns that fields.additional.placement makes headers"
    outbox = TableOutbox(
        OUTBOX, {**Debezium.outbox.columns, **{f'"{name}"': value for name, value in _ATTRIBUTES.items()}}
    )
    attributes = tuple(_ATTRIBUTES)


class WarmDebezium(Debezium):
    """The same without the JVM's first seconds."""

    name = "debezium_warm"
    title = f"{Debezium.title}, warm"
    settings = "the same; Connect stays up, its connector is stopped before the backlog is written and resumed after it"

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        return WarmCarrier(place, _java(), connector(place), slot=_SLOT)


def connector(place: Place, attributes: Sequence[str] = ()) -> dict[str, str]:
    """Return the connector's properties; `attributes` are columns that become headers."""
    known = conninfo_to_dict(place.database_url)
    placed = ",".join(f"{name}:header:{name}" for name in attributes)
    return {
        **_CONNECTOR,
        **_TUNED,
        f"transforms.{OUTBOX}.route.topic.replacement": place.topic,
        **({f"transforms.{OUTBOX}.table.fields.additional.placement": placed} if placed else {}),
        "database.hostname": str(known["host"]),
        "database.port": str(known.get("port", 5432)),
        "database.user": str(known["user"]),
        "database.password": str(known.get("password", "none")),
        "database.dbname": str(known["dbname"]),
    }


def _java() -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return [shutil.which("java") or "java", "-Xmx1g", "-XX:-UsePerfData", quiet, "-cp", f"{DEBEZIUM.fetch()}/*"]
