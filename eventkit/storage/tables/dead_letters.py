"""Tables of dead letters, of requests to redrive them, and of operators' actions on them."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB


def add_dead_letters(tables: MetaData) -> None:
    Table(
        "dead_letters",
        tables,
        Column("id", BigInteger, Identity(always=True, cache=1), primary_key=True),
        *_letter(),
        Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        UniqueConstraint("parked_by", "stream", "version", "event_id"),
        Index(None, "parked_by", "stream", "cause"),
        # Operators look at letters by projection, cause and category, the newest first.
        Index("dead_letters_groups_idx", "parked_by", "cause", text("split_part(stream, '-'::text, 1)"), "id"),
        Index("dead_letters_gaps_idx", "parked_by", "stream", postgresql_where=text("(cause = 'gap'::text)")),
        comment="An event that could not be published or applied, or that waits behind one. It parks its stream.",
    )
    Table(
        "redrives",
        tables,
        Column("parked_by", Text, primary_key=True),
        Column("stream", Text(collation="C"), primary_key=True),
        Column("asked_by", Text, nullable=False),
        Column("reserved_for", Text),  # the process that serves it, where the operator has named its code
        Column("asked_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A request to retry a parked stream. The projector that serves it deletes the row.",
    )
    Table(
        "dead_letter_actions",
        tables,
        Column("id", BigInteger, Identity(always=True, cache=1), primary_key=True),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("result", Text, nullable=False),
        Column("letter", BigInteger, nullable=False),
        *_letter(),
        Column("new_data", LargeBinary),
        Column("parked_at", DateTime(timezone=True), nullable=False),
        Index(None, "stream", "id"),  # the actions on a stream, the newest first
        Index(None, "parked_by", "id"),  # the actions on a projection's letters
        comment="An operator's action on a dead letter, the letter as it was, and the result. Append-only.",
    )


def _letter() -> list[Column[Any]]:
    """Return the columns that a dead letter and the record of an action on it have in common."""
    return [
        Column("parked_by", Text, nullable=False),
        Column("stream", Text(collation="C"), nullable=False),
        Column("version", Integer, nullable=False),
        Column("position", BigInteger),
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("cause", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("detail", Text),
        Column("attempts", Integer, nullable=False),
        Column("event", JSONB),
        Column("data", LargeBinary),
    ]
