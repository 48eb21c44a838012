"""Tables of the event store: streams, events, tags, the keys of personal data, and prunings."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from eventkit.storage.tables.storage_parameters import SECRET_STORAGE, STORAGE, UPDATED_STORAGE


def add_events(tables: MetaData) -> None:
    Table(
        "streams",
        tables,
        Column("stream", Text(collation="C"), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("pruned_to", Integer, nullable=False, server_default=text("0")),
        Column("pruned_digest", BigInteger, nullable=False, server_default=text("0")),
        Column("closed", Boolean, nullable=False, server_default=text("false")),
        CheckConstraint("NOT closed OR version = pruned_to", name="closed"),  # an append would raise the version
        comment="A stream, its version, and how far its events were pruned, with their digest; closed: archived.",
        info={STORAGE: UPDATED_STORAGE},
    )
    Table(
        "events",
        tables,
        Column("position", BigInteger, Identity(always=True, cache=1, increment=1, cycle=False), primary_key=True),
        Column("id", Uuid, nullable=False, unique=True),
        Column("source", Text, nullable=False),
        Column("stream", Text(collation="C"), nullable=False),
        Column("version", Integer, nullable=False),
        Column("type", Text, nullable=False),
        Column("schema_version", SmallInteger, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("metadata", JSONB, nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        UniqueConstraint("stream", "version"),
        Index(None, "source", "type"),  # finds the stored types: few values, so 7 bytes an event
        # By correlation and by cause: an event without metadata has no entry in these two.
        _in_metadata("correlation"),
        _in_metadata("causation"),
        CheckConstraint("version > 0", name="version"),
        comment="An event. Append-only.",
    )
    Table(
        "tags",
        tables,
        Column("tag", Text(collation="C"), primary_key=True),
        Column("version", BigInteger, nullable=False),
        comment="A tag, and the number of times an event took it. Appends and decisions by this tag lock the row.",
        info={STORAGE: UPDATED_STORAGE},
    )
    Table(
        "event_tags",
        tables,
        Column("tag", Text(collation="C"), primary_key=True),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Index(None, "position"),  # pruning and archiving find an event's tags by it
        comment="A tag of an event.",
    )
    Table(
        "subject_keys",
        tables,
        Column("subject", Text(collation="C"), primary_key=True),
        Column("key_id", Text),
        Column("key", Text),
        Column("master_key", Text),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("forgotten_at", DateTime(timezone=True)),
        Column("forgotten_by", Text),
        Column("reason", Text),
        CheckConstraint("(key IS NULL) = (master_key IS NULL)", name="wrapped"),
        CheckConstraint("(key IS NULL) = (forgotten_at IS NOT NULL)", name="forgotten"),
        comment="A subject's wrapped key; a forgotten subject has none, but who forgot it, when and why.",
        info={STORAGE: SECRET_STORAGE},
    )
    Table(
        "prunings",
        tables,
        Column("run", Uuid, primary_key=True),
        Column("category", Text(collation="C"), primary_key=True),
        Column("source", Text, primary_key=True),
        Column("actor", Text, nullable=False),
        Column("events", BigInteger, nullable=False),
        Column("recorded_before", DateTime(timezone=True)),
        Column("archive", Text),
        Column("archive_digest", Text),  # SHA-256, in hex; a restore checks it
        Column("pruned_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="The number of events of a category that a run has pruned or archived, the time limit, the file.",
    )


def _in_metadata(name: str) -> Index:
    value = f"(metadata ->> '{name}_id'::text)"  # as PostgreSQL prints it
    return Index(f"events_{name}_idx", text(f"({value})"), "position", postgresql_where=text(f"({value} IS NOT NULL)"))
