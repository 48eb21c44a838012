"""Tables for operators: running processes, pauses, and the record of actions."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from eventkit.storage.tables.storage_parameters import STORAGE, UPDATED_STORAGE


def add_operation(tables: MetaData) -> None:
    Table(
        "processes",
        tables,
        Column("id", Uuid, primary_key=True),
        Column("role", Text, nullable=False),  # relay, projector, timers, responder, rebuild
        Column("name", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("pid", Integer, nullable=False),
        Column("version", Text, nullable=False),  # of eventkit
        Column("started_at", DateTime(timezone=True), nullable=False),
        Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("state", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
        comment="A running process, renewed every few seconds; state: its rates and places. Deleted at a clean end.",
        info={STORAGE: UPDATED_STORAGE},
    )
    Table(
        "pauses",
        tables,
        Column("kind", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        Column("paused_by", Text, nullable=False),
        Column("reason", Text, nullable=False, server_default=text("''::text")),
        Column("paused_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        CheckConstraint("kind = ANY (ARRAY['projection'::text, 'topic'::text])", name="kind"),
        comment="A projection, or a topic at the relay, that an operator has paused.",
    )
    Table(
        "operator_actions",
        tables,
        Column("id", BigInteger, Identity(always=True, cache=1), primary_key=True),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("detail", Text, nullable=False, server_default=text("''::text")),
        comment="An operator's action, such as a pause; those on dead letters have a table of theirs. Append-only.",
    )
