"""All tables and columns of eventkit; the migrations and `eventkit db verify` are compared with it.

The tables are in their own PostgreSQL schema (`eventkit` unless configured). Each table has a comment that describes a
row, for readers in psql.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any
from zlib import crc32

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

DEFAULT_SCHEMA = "eventkit"
VERSION_TABLE = "eventkit_version"
REVISIONS = ("eventkit_0001",)  # all migrations, oldest first; a database must be at the last one
MAINTENANCE_ROLE = "eventkit_maintenance"
SHARDS = 256

# An append-only table has one trigger, on every statement that could change or remove a row, also under replication.
# Only the active role counts: a superuser too must `set role eventkit_maintenance`, and an operator must create that.
REFUSE_CHANGE = "refuse_change"
REFUSE_CHANGE_BODY = f"""
begin
  if current_user = '{MAINTENANCE_ROLE}' then
    return null;
  end if;
  raise exception using
    errcode = 'restrict_violation',
    message = 'eventkit: ' || tg_op || ' on ' || tg_table_name || ' is refused: recorded rows are never changed',
    hint = 'only the role {MAINTENANCE_ROLE} may, after "set role {MAINTENANCE_ROLE}"; an operator creates it';
end
"""
APPEND_ONLY = ("events", "dead_letter_actions", "operator_actions")  # tables, each with a trigger `<table>_append_only`

# Writes an event's message for Debezium: with the relay's headers, so that a reader notices no difference. The row is
# deleted at once, because Debezium reads the insert from the WAL. `route` is the topic behind a letter for each header
# that is present: Connect's transforms remove the others (`eventkit.storage.debezium.connector`).
TO_DEBEZIUM = "to_debezium"
_TO_DEBEZIUM_BODY = """
declare
  written tid;
begin
  insert into {s}.debezium_outbox (position, route, stream, id, source, type, time, streamversion,
         dataschemaversion, correlationid, causationid, traceparent, tracestate, metadata, data)
  select e.position, concat(
           case when e.schema_version > 1 then 's' end, case when m.correlationid is not null then 'c' end,
           case when m.causationid is not null then 'k' end, case when m.traceparent is not null then 'p' end,
           case when m.tracestate is not null then 't' end, case when m.rest <> '{{}}' then 'm' end, ':', $1),
         e.stream, e.id::text, e.source, e.type,
         to_json(e.recorded_at at time zone 'UTC') #>> '{{}}' || '+00:00', e.version::text, e.schema_version::text,
         m.correlationid, m.causationid, m.traceparent, m.tracestate, '{{' || (
           select string_agg(to_json(key)::text || ':' || value::text, ',') from jsonb_each(m.rest)) || '}}',
         e.data::text
    from {s}.events e cross join lateral (
      select e.metadata ->> 'correlation_id' as correlationid, e.metadata ->> 'causation_id' as causationid,
             e.metadata ->> 'traceparent' as traceparent,
             case when e.metadata ->> 'traceparent' is not null then e.metadata ->> 'tracestate' end as tracestate,
             e.metadata - array['correlation_id', 'causation_id', 'traceparent', 'tracestate'] as rest) m
   where e.position = $2
  returning ctid into written;
  delete from {s}.debezium_outbox where ctid = written;
end
"""


def to_debezium_body(schema: str) -> str:
    """Return the body of the function that writes an event's message for Debezium; `schema` is quoted."""
    return _TO_DEBEZIUM_BODY.format(s=schema)


STORAGE = "storage"  # the key of a table's storage parameters in its `info`: SQLAlchemy 2.0 cannot declare them

# Outbox rows are inserted and deleted all the time: vacuum by the number of dead rows, at full speed, for every size.
_OUTBOX_STORAGE = {
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "10000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.0",
    "autovacuum_analyze_threshold": "50000",
}
# Every append or batch updates such a row: room for HOT updates in its page, and vacuum before the table doubles.
_UPDATED_STORAGE = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "0",
}
# Rows are inserted and deleted, and the table stays small: vacuum before it has many dead rows.
_SHORT_LIVED_STORAGE = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"}

# A destroyed key is a dead row: vacuum at the first one, not at a fifth of the table.
_SECRET_STORAGE = {"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "0"}


def shard_of(stream: str) -> int:
    """Return the shard of a stream, as `outbox` and `timers` have it."""
    return crc32(stream.encode()) % SHARDS


@cache
def metadata(schema: str = DEFAULT_SCHEMA) -> MetaData:
    """Return all tables in the given PostgreSQL schema."""
    tables = MetaData(
        schema=schema,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        },
    )
    _installation(tables)
    _store(tables)
    _privacy(tables)
    _relay(tables)
    _projections(tables)
    _messaging(tables)
    _rebuilds(tables)
    _snapshots(tables)
    _letters(tables)
    _pruning(tables)
    _operation(tables)
    for table in tables.sorted_tables:
        _store_as(table, table.info.get(STORAGE, {}))
    return tables


def _store_as(table: Table, parameters: Mapping[str, str]) -> None:
    """Set storage parameters when the table is created without migrations."""
    if parameters:
        settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        event.listen(table, "after_create", DDL(f"alter table %(fullname)s set ({settings})"))  # type: ignore[no-untyped-call]


def _installation(tables: MetaData) -> None:
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


def _store(tables: MetaData) -> None:
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
        info={STORAGE: _UPDATED_STORAGE},
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
        info={STORAGE: _UPDATED_STORAGE},
    )
    Table(
        "event_tags",
        tables,
        Column("tag", Text(collation="C"), primary_key=True),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Index(None, "position"),  # pruning and archiving find an event's tags by it
        comment="A tag of an event.",
    )


def _in_metadata(name: str) -> Index:
    value = f"(metadata ->> '{name}_id'::text)"  # as PostgreSQL prints it
    return Index(f"events_{name}_idx", text(f"({value})"), "position", postgresql_where=text(f"({value} IS NOT NULL)"))


def _privacy(tables: MetaData) -> None:
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
        info={STORAGE: _SECRET_STORAGE},
    )


def _relay(tables: MetaData) -> None:
    Table(
        "outbox",
        tables,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("topic", Text, nullable=False),
        Column("shard", SmallInteger, nullable=False),
        Column("bytes", Integer, nullable=False),
        comment="An event that the broker has not acknowledged, and its topic. Deleted when sent, never updated.",
        info={STORAGE: _OUTBOX_STORAGE},
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
        info={STORAGE: _OUTBOX_STORAGE},
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


def _letters(tables: MetaData) -> None:
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


def _pruning(tables: MetaData) -> None:
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


def _operation(tables: MetaData) -> None:
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
        info={STORAGE: _UPDATED_STORAGE},
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


def _rebuilds(tables: MetaData) -> None:
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


def _projections(tables: MetaData) -> None:
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
        info={STORAGE: _UPDATED_STORAGE},
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
        info={STORAGE: _UPDATED_STORAGE},
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


def _messaging(tables: MetaData) -> None:
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
        info={STORAGE: _SHORT_LIVED_STORAGE},
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
        info={STORAGE: _SHORT_LIVED_STORAGE},
    )


def _snapshots(tables: MetaData) -> None:
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
        info={STORAGE: _SHORT_LIVED_STORAGE},
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
        info={STORAGE: _SHORT_LIVED_STORAGE},
    )
