"""Tables of the outbox and of its relay."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from eventkit.storage.tables.storage_parameters import OUTBOX_STORAGE, STORAGE


def add_outbox(tables: MetaData) -> None:
    Table(
        "outbox",
        tables,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("topic", Text, nullable=False),
        Column("shard", SmallInteger, nullable=False),
        Column("bytes", Integer, nullable=False),
        comment="An event that the broker has not acknowledged, and its topic. Deleted when sent, never updated.",
        info={STORAGE: OUTBOX_STORAGE},
    )
    Table(
        "debezium_outbox",
        tables,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("route", Text, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("stream", "id", "source", "type", "time", "streamversion")),
        *(Column(name, Text) for name in ("dataschemaversion", "correlationid", "causationid", "traceparent")),
        *(Column(name, Text) for name in ("tracestate", "metadata")),
        Column("data", Text, nullable=False),
        Column("specversion", Text, nullable=False, server_default=text("'1.0'::text")),
        Column("contenttype", Text, nullable=False, server_default=text("'application/json'::text")),
        comment="An event's message for Debezium, deleted in the statement that inserts it: no row is ever visible.",
        info={STORAGE: OUTBOX_STORAGE},
    )
    Table(
        "amendments",
        tables,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("schema_version", SmallInteger, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("metadata", JSONB, nullable=False),
        Column("amended_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="The data, or tombstone, that readers get in place of an event that the broker refused.",
    )
    Table(
        "leases",
        tables,
        Column("name", Text, primary_key=True),
        Column("epoch", Integer, nullable=False),
        Column("owner", Text, nullable=False),
        Column("expires_at", DateTime(timezone=True), nullable=False),
        Column("taken_at", DateTime(timezone=True)),  # by this owner; null before the first one
        comment="The process that may act, such as a relay, until when. Late writes of an older epoch are refused.",
    )
    Table(
        "readers",
        tables,
        Column("name", Text, primary_key=True),
        comment="A row that a reader of the store locks in its statement, which makes the returned events durable.",
    )
