"""Tables of snapshots: of aggregates, and of decision models."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from eventkit.storage.tables.storage_parameters import SHORT_LIVED_STORAGE, STORAGE


def add_snapshots(tables: MetaData) -> None:
    Table(
        "snapshots",
        tables,
        Column("stream", Text(collation="C"), primary_key=True),
        Column("aggregate", Text, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("state", JSON, nullable=False),  # jsonb would sort the keys, and a dict in the state has an order
        Column("saved_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="An aggregate's state after an event, for one version of its code. May be deleted at any time.",
        info={STORAGE: SHORT_LIVED_STORAGE},
    )
    Table(
        "decision_snapshots",
        tables,
        Column("model", Text, primary_key=True),
        Column("key", Text, primary_key=True),  # a digest of the model's query and of its initial state
        Column("fingerprint", Text, nullable=False),
        Column("tags", ARRAY(Text), nullable=False),
        Column("positions", ARRAY(BigInteger), nullable=False),  # of the last event of each tag
        Column("event_ids", ARRAY(Uuid), nullable=False),
        Column("state", JSON, nullable=False),
        Column("saved_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A decision model's state after the events of its tags. May be deleted at any time.",
        info={STORAGE: SHORT_LIVED_STORAGE},
    )
