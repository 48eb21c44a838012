"""Tables about the installation, and about what it has at its brokers and its schema registry."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY


def add_installation(tables: MetaData) -> None:
    Table(
        "installation",
        tables,
        Column("single", Boolean, primary_key=True, server_default=text("true")),
        Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
        Column("system_identifier", BigInteger),  # of the server; null before the first use, or where not reported
        Column("database_oid", BigInteger),
        Column("timeline", Integer),  # every failover changes it
        Column("relay_redrives", BigInteger, nullable=False, server_default=text("0")),  # the relay reads anew
        Column("relay_parts", SmallInteger, nullable=False, server_default=text("1")),  # relays divide the shards by it
        Column("mode", Text, nullable=False, server_default=text("'relay'::text")),  # read by every append
        CheckConstraint("single", name="single"),
        CheckConstraint(
            "mode = ANY (ARRAY['relay'::text, 'to debezium'::text, 'both'::text, 'to relay'::text, 'debezium'::text])",
            name="mode",
        ),
        comment="The id of this installation, its last known server and database, and the publisher of its events.",
    )
    Table(
        "topics",
        tables,
        Column("topic", Text, primary_key=True),
        Column("first_sent_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A topic to which this installation's relay sends events.",
    )
    Table(
        "held_topics",
        tables,
        Column("topic", Text, primary_key=True),
        Column("reason", Text, nullable=False),
        Column("since", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("held_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        comment="A topic to which the relay sends nothing for now, the reason, since when, and the last attempt.",
    )
    Table(
        "schema_ids",
        tables,
        Column("registry", Text, primary_key=True),
        Column("subject", Text, primary_key=True),
        Column("schema_version", SmallInteger, primary_key=True),
        Column("id", BigInteger, nullable=False),
        Column("guid", Uuid),
        comment="The id of a registered schema: the relay sends with it, also while the registry is away.",
    )
    Table(
        "groups",
        tables,
        Column("name", Text, primary_key=True),
        Column("broker", Text, primary_key=True),
        Column("projection", Text, nullable=False),
        Column("topics", ARRAY(Text), nullable=False),
        Column("abandoned_at", DateTime(timezone=True)),
        comment="A consumer group of a projection at a broker; an abandoned one is to be removed there.",
    )
