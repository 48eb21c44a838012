"""Tables of projections, their checkpoints and their rebuilds."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from eventkit.storage.tables.storage_parameters import STORAGE, UPDATED_STORAGE


def add_projections(tables: MetaData) -> None:
    Table(
        "projections",
        tables,
        Column("name", Text, primary_key=True),
        Column("kind", Text, nullable=False, server_default=text("''::text")),
        Column("catalog", Text, nullable=False, server_default=text("''::text")),
        Column("incarnation", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
        Column("server", Text),  # the server and database in which the incarnation was drawn
        Column("generation", BigInteger, Identity(always=False, cache=1), nullable=False, unique=True),
        Column("tables", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
        Column("categories", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),  # none: reads all
        Column("declared_version", Integer, nullable=False),
        Column("position", BigInteger, nullable=False, server_default=text("0")),
        Column("retry", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # of its handlers
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A projection, its live generation, its tables, its position in the store. The row is the fence.",
    )
    Table(
        "checkpoints",
        tables,
        Column("generation", BigInteger, primary_key=True, autoincrement=False),
        Column("stream", Text(collation="C"), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("event_id", Uuid),  # null while nothing is applied: a stream parked at its first event
        Column("digest", BigInteger),  # of the ids of all events up to the version; null where some were never seen
        Column("parked", Boolean, nullable=False, server_default=text("false")),
        Index("checkpoints_parked_idx", "generation", "stream", postgresql_where=text("parked")),
        comment="The version up to which a projection's generation has applied a stream, its event; parked or not.",
        info={STORAGE: UPDATED_STORAGE},
    )
    Table(
        "places",
        tables,
        Column("projection", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("shard", Integer, primary_key=True, autoincrement=False),
        Column("topic_id", Text, nullable=False),  # of the topic at its broker
        Column("place", ARRAY(BigInteger), nullable=False),
        comment="A projection's offset in a shard of a topic, in the broker's numbers. Saved with each batch.",
        info={STORAGE: UPDATED_STORAGE},
    )
    Table(
        "handler_waits",
        tables,
        Column("projection", Text, primary_key=True),
        Column("process", Text, primary_key=True),
        Column("source", Text, primary_key=True),
        Column("type", Text, primary_key=True),
        Column("handler", Text, nullable=False),
        Column("is_open", Boolean, nullable=False),  # the breaker; false: single streams are retried
        Column("since", DateTime(timezone=True), nullable=False),
        Column("reason", Text, nullable=False),  # class and place of the last error, no data of the event
        Column("attempts", Integer, nullable=False),
        Column("streams", Integer, nullable=False),
        Column("next_at", DateTime(timezone=True), nullable=False),
        Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A handler whose events wait in a process, and why. Renewed while they wait; an old row has expired.",
    )
    Table(
        "rebuilds",
        tables,
        Column("name", Text, primary_key=True),
        Column("generation", BigInteger, nullable=False, unique=True),
        Column("declared_version", Integer, nullable=False),
        Column("shadow", Text, nullable=False),
        Column("definition", Text, nullable=False),
        Column("categories", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
        Column("total", BigInteger, nullable=False),
        Column("done", BigInteger, nullable=False, server_default=text("0")),
        Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A rebuild: the generation that is being built, and the schema of its tables until the swap.",
    )
