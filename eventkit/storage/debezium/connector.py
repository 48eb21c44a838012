"""The configuration of Debezium's connector: the messages that the relay sends, by Debezium's outbox event router.

The table `debezium_outbox` has a column for each header. The router makes a header of every column, also of an empty
one, and the relay sends no header without a value. So each row's route says by a letter which of the
optional headers it has (`has_…`); transforms remove the others (`drop_…`), and the last one takes the letters away.

Debezium confirms an event in its slot by a record of a later transaction. Where nothing is appended, that is a
heartbeat, in a topic of its own. Connect must support exactly-once: it then confirms the records of a batch at once,
when Kafka has all of them. Without that it confirms once a minute, and by the last record that any partition has
acknowledged: a restart may leave out an earlier one that Kafka has not got.
"""

from typing import Any

import msgspec

from eventkit.errors import ConfigurationError
from eventkit.storage.db import quoted
from eventkit.storage.debezium.mode import Mode

# A connector that starts too early would send later events of a stream before the relay has sent the earlier ones. One
# whose slot is gone would create another one, and leave out the events between. Its first session gets an error, upon
# which Debezium tries again by itself. `;;` is one semicolon.
GATE = """do $$ begin if current_setting('application_name') = 'Debezium General' then
 if exists (select from {s}.installation where mode in ({closed})) then
 raise exception 'eventkit: the relay sends the events. Run eventkit db mode debezium: the connector starts by itself'
 using errcode = '57P03';; end if;;
 if not exists (select from pg_replication_slots where slot_name = '{slot}' and database = current_database()) then
 raise exception 'eventkit: the replication slot {slot} is gone. Let the relay send the events since then again: \
eventkit db mode relay --again-since AGE' using errcode = '57P03';; end if;; end if;; end $$"""
_CLOSED = (Mode.RELAY, Mode.TO_DEBEZIUM)

_HEADERS = {
    "specversion": "ce_specversion",
    "id": "ce_id",
    "source": "ce_source",
    "type": "ce_type",
    "time": "ce_time",
    "streamversion": "ce_streamversion",
    "contenttype": "content-type",
    "dataschemaversion": "ce_dataschemaversion",
    "correlationid": "ce_correlationid",
    "causationid": "ce_causationid",
    "traceparent": "ce_traceparent",
    "tracestate": "ce_tracestate",
    "metadata": "ce_metadata",
}
_LETTERS = {  # of the optional ones, in a route
    "dataschemaversion": "s",
    "correlationid": "c",
    "causationid": "k",
    "traceparent": "p",
    "tracestate": "t",
    "metadata": "m",
}
_TRANSFORMS = "org.apache.kafka.connect.transforms"
_STRING = "org.apache.kafka.connect.storage.StringConverter"


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a connector; `slot` is the name of the replication slot and of the publication."""

    name: str
    schema: str
    slot: str
    database: dict[str, Any]  # the parts of the database's URL, by libpq's names
    topic_prefix: str  # of Debezium's own topics, and of the connector's offsets; not of the events' topics
    tasks: int = 1


def heartbeat_topic(topic_prefix: str) -> str:
    """Return the topic of a connector's heartbeats."""
    return f"__debezium-heartbeat.{topic_prefix}"


def connector_config(wanted: Connector) -> dict[str, Any]:
    """Return the connector as Kafka Connect's API takes it: its name and its properties."""
    properties = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": str(wanted.tasks),
        "topic.prefix": wanted.topic_prefix,
        **_database(wanted.database),
        "database.initial.statements": _gate(wanted),
        "plugin.name": "pgoutput",
        "slot.name": wanted.slot,
        "publication.name": wanted.slot,
        "publication.autocreate.mode": "disabled",
        "schema.include.list": wanted.schema,
        "table.include.list": f"{wanted.schema}.debezium_outbox",
        "snapshot.mode": "no_data",
        "offset.mismatch.strategy": "trust_slot",  # a later switch makes a new slot
        "lsn.flush.mode": "connector_and_driver",  # the slot moves on while nothing is appended
        "status.update.interval.ms": "1000",
        "heartbeat.interval.ms": "1000",
        "exactly.once.support": "required",
        "retriable.restart.connector.wait.ms": "2000",
        "tombstones.on.delete": "false",
        "extended.headers.enabled": "false",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": "10",
        "key.converter": _STRING,
        "value.converter": _STRING,
        "header.converter": _STRING,
        "producer.override.acks": "all",
        "producer.override.enable.idempotence": "true",
        "producer.override.max.in.flight.requests.per.connection": "5",
        **_transforms(),
    }
    return {"name": wanted.name, "config": properties}


def _database(parts: dict[str, Any]) -> dict[str, str]:
    host = str(parts.get("host") or parts.get("hostaddr") or "localhost")
    if host.startswith("/") or "," in host:
        raise ConfigurationError(
            f"the database URL has the host {host!r}: Connect reaches PostgreSQL by TCP at one host; name it by "
            "--database-host and --database-port"
        )
    known = {
        "database.hostname": host,
        "database.port": str(parts.get("port") or 5432),
        "database.user": str(parts.get("user") or ""),
        "database.password": str(parts.get("password") or ""),
        "database.dbname": str(parts.get("dbname") or parts.get("user") or ""),
        "database.sslmode": str(parts.get("sslmode") or "prefer"),
    }
    return {name: value for name, value in known.items() if value}


def _gate(wanted: Connector) -> str:
    closed = ", ".join(f"'{mode}'" for mode in _CLOSED)
    return " ".join(GATE.format(s=quoted(wanted.schema), slot=wanted.slot, closed=closed).split())


def _transforms() -> dict[str, str]:
    drops = {f"drop_{column}": f"has_{column}" for column in _LETTERS}
    found = {
        "transforms": ",".join(["outbox", *drops, "drop_id", "topic"]),
        "predicates": ",".join(drops.values()),
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.table.field.event.id": "id",
        "transforms.outbox.table.field.event.key": "stream",
        "transforms.outbox.table.field.event.payload": "data",
        "transforms.outbox.table.fields.additional.placement": ",".join(
            f"{column}:header:{header}" for column, header in _HEADERS.items()
        ),
        "transforms.outbox.route.by.field": "route",
        "transforms.outbox.route.topic.regex": "(?<routedByValue>.*)",
        "transforms.outbox.route.topic.replacement": "${routedByValue}",
        "transforms.drop_id.type": f"{_TRANSFORMS}.DropHeaders",
        "transforms.drop_id.headers": "id",
        "transforms.topic.type": f"{_TRANSFORMS}.RegexRouter",
        "transforms.topic.regex": "[a-z]*:(.*)",
        "transforms.topic.replacement": "$1",
    }
    for column, letter in _LETTERS.items():
        found |= {
            f"predicates.has_{column}.type": f"{_TRANSFORMS}.predicates.TopicNameMatches",
            f"predicates.has_{column}.pattern": f"[a-z]*{letter}[a-z]*:.*",
            f"transforms.drop_{column}.type": f"{_TRANSFORMS}.DropHeaders",
            f"transforms.drop_{column}.headers": _HEADERS[column],
            f"transforms.drop_{column}.predicate": f"has_{column}",
            f"transforms.drop_{column}.negate": "true",
        }
    return found
