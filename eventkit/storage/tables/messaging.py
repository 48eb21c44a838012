"""Tables of deadlines, and of messages without a version."""

from sqlalchemy import Boolean, Column, DateTime, Index, MetaData, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSON, JSONB

from eventkit.storage.tables.storage_parameters import SHORT_LIVED_STORAGE, STORAGE


def add_messaging(tables: MetaData) -> None:
    Table(
        "timers",
        tables,
        Column("stream", Text(collation="C"), primary_key=True),
        Column("name", Text(collation="C"), primary_key=True),
        Column("due_at", DateTime(timezone=True), nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("source", Text, nullable=False),
        Column("topic", Text),  # null: the event is not sent to a broker
        Column("shard", SmallInteger, nullable=False),
        Column("type", Text, nullable=False),
        Column("schema_version", SmallInteger, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("metadata", JSONB, nullable=False),
        Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Index(None, "due_at"),
        comment="A deadline: the event to append to the stream when it is due. Deleted when it fires, or is cancelled.",
        info={STORAGE: SHORT_LIVED_STORAGE},
    )
    Table(
        "inbox",
        tables,
        Column("handler", Text, primary_key=True),
        Column("message", Text(collation="C"), primary_key=True),
        Column("event_id", Uuid),  # null while it was not handled: a message that failed at first
        Column("parked", Boolean, nullable=False, server_default=text("false")),
        Column("reply", JSON),  # a responder's reply, sent again to a repeated request
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Index(None, "received_at"),
        comment="A message without a version (id@source) that a handler has handled, or that is parked there. Pruned.",
        info={STORAGE: SHORT_LIVED_STORAGE},
    )
