"""The tables: installation; streams, events, outbox; leases; projections, checkpoints, dead letters; timers, inbox.

Locks no table of yours, and must run before the code. The comments of `eventkit/storage/tables` describe the tables.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from eventkit.storage.migrate import make_schema, schema_of

revision = "eventkit_0001"
down_revision = None
branch_labels = ("eventkit",)
depends_on = None

C_TEXT = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")
UPDATED = "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
OUTBOX = (
    "autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0, "
    "autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 50000"
)
KEYS = "autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 0"
SHORT_LIVED = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"


def upgrade() -> None:
    context = op.get_context()
    schema = schema_of(context)
    if context.version_table_schema != schema:  # a branch of a service's own alembic, which has not made it
        make_schema(context, schema)
    _installation(schema)
    _store(schema)
    _privacy(schema)
    _relay(schema)
    _projections(schema)
    _rebuilds(schema)
    _dead_letters(schema)
    _timers(schema)
    _inbox(schema)
    _snapshots(schema)
    _letters(schema)
    _pruning(schema)
    _operation(schema)
    _append_only(schema)
    _to_debezium(schema)
    for table, storage in (
        ("streams", UPDATED),
        ("tags", UPDATED),
        ("outbox", OUTBOX),
        ("debezium_outbox", OUTBOX),
        ("subject_keys", KEYS),
        ("checkpoints", UPDATED),
        ("places", UPDATED),
        ("processes", UPDATED),
        ("timers", SHORT_LIVED),
        ("inbox", SHORT_LIVED),
        ("snapshots", SHORT_LIVED),
        ("decision_snapshots", SHORT_LIVED),
    ):
        op.execute(f'alter table "{schema}".{table} set ({storage})')


def downgrade() -> None:
    schema = schema_of(op.get_context())
    for table in (
        *("operator_actions", "pauses", "processes"),
        "decision_snapshots",
        "snapshots",
        "subject_keys",
        "inbox",
        "timers",
        "dead_letters",
        *("prunings", "dead_letter_actions", "redrives", "amendments"),
        "rebuilds",
        *("handler_waits", "places", "checkpoints"),
        "projections",
        "readers",
        "leases",
        *("debezium_outbox", "outbox"),
        "event_tags",
        "tags",
        "events",
        "streams",
        *("groups", "schema_ids", "held_topics", "topics", "installation"),
    ):
        op.drop_table(table, schema=schema)
    op.execute(f'drop function "{schema}".refuse_change()')
    op.execute(f'drop function "{schema}".to_debezium(text, bigint)')


def _installation(schema: str) -> None:
    op.create_table(
        "installation",
        sa.Column("single", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("system_identifier", sa.BigInteger),
        sa.Column("database_oid", sa.BigInteger),
        sa.Column("timeline", sa.Integer),
        sa.Column("relay_redrives", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("relay_parts", sa.SmallInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("mode", sa.Text, nullable=False, server_default=sa.text("'relay'::text")),
        sa.PrimaryKeyConstraint("single", name="installation_pkey"),
        sa.CheckConstraint("single", name=op.f("installation_single_check")),
        sa.CheckConstraint(
            "mode = ANY (ARRAY['relay'::text, 'to debezium'::text, 'both'::text, 'to relay'::text, 'debezium'::text])",
            name=op.f("installation_mode_check"),
        ),
        schema=schema,
        comment="The id of this installation, its last known server and database, and the publisher of its events.",
    )
    op.execute(f'insert into "{schema}".installation default values')
    op.create_table(
        "topics",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("first_sent_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("topic", name="topics_pkey"),
        schema=schema,
        comment="A topic to which this installation's relay sends events.",
    )
    op.create_table(
        "held_topics",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", TIME, nullable=False, server_default=NOW),
        sa.Column("held_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("topic", name="held_topics_pkey"),
        schema=schema,
        comment="A topic to which the relay sends nothing for now, the reason, since when, and the last attempt.",
    )
    op.create_table(
        "schema_ids",
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("schema_version", sa.SmallInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("guid", sa.Uuid),
        sa.PrimaryKeyConstraint("registry", "subject", "schema_version", name="schema_ids_pkey"),
        schema=schema,
        comment="The id of a registered schema: the relay sends with it, also while the registry is away.",
    )
    op.create_table(
        "groups",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("broker", sa.Text, nullable=False),
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("topics", ARRAY(sa.Text), nullable=False),
        sa.Column("abandoned_at", TIME),
        sa.PrimaryKeyConstraint("name", "broker", name="groups_pkey"),
        schema=schema,
        comment="A consumer group of a projection at a broker; an abandoned one is to be removed there.",
    )


def _store(schema: str) -> None:
    op.create_table(
        "streams",
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("pruned_to", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("pruned_digest", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("stream", name="streams_pkey"),
        sa.CheckConstraint("NOT closed OR version = pruned_to", name=op.f("streams_closed_check")),
        schema=schema,
        comment="A stream, its version, and how far its events were pruned, with their digest; closed: archived.",
    )
    op.create_table(
        "events",
        sa.Column(
            "position", sa.BigInteger, sa.Identity(always=True, cache=1, increment=1, cycle=False), nullable=False
        ),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.SmallInteger, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("position", name="events_pkey"),
        sa.UniqueConstraint("stream", "version", name="events_stream_version_key"),
        sa.UniqueConstraint("id", name="events_id_key"),
        sa.CheckConstraint("version > 0", name=op.f("events_version_check")),
        schema=schema,
        comment="An event. Append-only.",
    )
    op.create_index("events_source_type_idx", "events", ["source", "type"], schema=schema)
    for name in ("correlation", "causation"):
        value = f"(metadata ->> '{name}_id'::text)"
        op.create_index(
            f"events_{name}_idx",
            "events",
            [sa.text(f"({value})"), "position"],
            schema=schema,
            postgresql_where=sa.text(f"({value} IS NOT NULL)"),
        )
    op.create_table(
        "tags",
        sa.Column("tag", C_TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tag", name="tags_pkey"),
        schema=schema,
        comment="A tag, and the number of times an event took it. Appends and decisions by this tag lock the row.",
    )
    op.create_table(
        "event_tags",
        sa.Column("tag", C_TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tag", "position", name="event_tags_pkey"),
        schema=schema,
        comment="A tag of an event.",
    )
    op.create_index("event_tags_position_idx", "event_tags", ["position"], schema=schema)


def _operation(schema: str) -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False, server_default=NOW),
        sa.Column("state", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.PrimaryKeyConstraint("id", name="processes_pkey"),
        schema=schema,
        comment="A running process, renewed every few seconds; state: its rates and places. Deleted at a clean end.",
    )
    op.create_table(
        "pauses",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("paused_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.Column("paused_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("kind", "name", name="pauses_pkey"),
        sa.CheckConstraint("kind = ANY (ARRAY['projection'::text, 'topic'::text])", name=op.f("pauses_kind_check")),
        schema=schema,
        comment="A projection, or a topic at the relay, that an operator has paused.",
    )
    op.create_table(
        "operator_actions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True, cache=1), nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.PrimaryKeyConstraint("id", name="operator_actions_pkey"),
        schema=schema,
        comment="An operator's action, such as a pause; those on dead letters have a table of theirs. Append-only.",
    )


def _to_debezium(schema: str) -> None:
    body = f"""
declare
  written tid;
begin
  insert into "{schema}".debezium_outbox (position, route, stream, id, source, type, time, streamversion,
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
    from "{schema}".events e cross join lateral (
      select e.metadata ->> 'correlation_id' as correlationid, e.metadata ->> 'causation_id' as causationid,
             e.metadata ->> 'traceparent' as traceparent,
             case when e.metadata ->> 'traceparent' is not null then e.metadata ->> 'tracestate' end as tracestate,
             e.metadata - array['correlation_id', 'causation_id', 'traceparent', 'tracestate'] as rest) m
   where e.position = $2
  returning ctid into written;
  delete from "{schema}".debezium_outbox where ctid = written;
end
"""  # noqa: S608 the schema's name, which is checked
    op.execute(
        f'create function "{schema}".to_debezium(text, bigint) returns void language plpgsql '
        f"set search_path = pg_catalog, pg_temp as $body${body}$body$"
    )
    # Each append calls it. Databases are often made safer by default privileges without functions for PUBLIC.
    op.execute(f'grant execute on function "{schema}".to_debezium(text, bigint) to public')


def _append_only(schema: str) -> None:
    op.execute(f"""create function "{schema}".refuse_change() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $body$
begin
  if current_user = 'eventkit_maintenance' then
    return null;
  end if;
  raise exception using
    errcode = 'restrict_violation',
    message = 'eventkit: ' || tg_op || ' on ' || tg_table_name || ' is refused: recorded rows are never changed',
    hint = 'only the role eventkit_maintenance may, after "set role eventkit_maintenance"; an operator creates it';
end
$body$""")
    for table in ("events", "dead_letter_actions", "operator_actions"):
        op.execute(f"""create trigger {table}_append_only before update or delete or truncate on "{schema}".{table}
                        for each statement execute function "{schema}".refuse_change()""")
        op.execute(f'alter table "{schema}".{table} enable always trigger {table}_append_only')


def _privacy(schema: str) -> None:
    op.create_table(
        "subject_keys",
        sa.Column("subject", C_TEXT, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("master_key", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("forgotten_at", TIME),
        sa.Column("forgotten_by", sa.Text),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("subject", name="subject_keys_pkey"),
        sa.CheckConstraint("(key IS NULL) = (master_key IS NULL)", name=op.f("subject_keys_wrapped_check")),
        sa.CheckConstraint("(key IS NULL) = (forgotten_at IS NOT NULL)", name=op.f("subject_keys_forgotten_check")),
        schema=schema,
        comment="A subject's wrapped key; a forgotten subject has none, but who forgot it, when and why.",
    )


def _relay(schema: str) -> None:
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("position", name="outbox_pkey"),
        schema=schema,
        comment="An event that the broker has not acknowledged, and its topic. Deleted when sent, never updated.",
    )
    op.create_table(
        "debezium_outbox",
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("stream", "id", "source", "type", "time", "streamversion")
        ),
        *(
            sa.Column(name, sa.Text)
            for name in ("dataschemaversion", "correlationid", "causationid", "traceparent", "tracestate", "metadata")
        ),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("specversion", sa.Text, nullable=False, server_default=sa.text("'1.0'::text")),
        sa.Column("contenttype", sa.Text, nullable=False, server_default=sa.text("'application/json'::text")),
        sa.PrimaryKeyConstraint("position", name="debezium_outbox_pkey"),
        schema=schema,
        comment="An event's message for Debezium, deleted in the statement that inserts it: no row is ever visible.",
    )
    op.create_table(
        "amendments",
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.SmallInteger, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("amended_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("position", name="amendments_pkey"),
        schema=schema,
        comment="The data, or tombstone, that readers get in place of an event that the broker refused.",
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("taken_at", TIME),
        sa.PrimaryKeyConstraint("name", name="leases_pkey"),
        schema=schema,
        comment="The process that may act, such as a relay, until when. Late writes of an older epoch are refused.",
    )
    op.create_table(
        "readers",
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="readers_pkey"),
        schema=schema,
        comment="A row that a reader of the store locks in its statement, which makes the returned events durable.",
    )


def _letters(schema: str) -> None:
    op.create_table(
        "redrives",
        sa.Column("parked_by", sa.Text, nullable=False),
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("reserved_for", sa.Text),
        sa.Column("asked_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("parked_by", "stream", name="redrives_pkey"),
        schema=schema,
        comment="A request to retry a parked stream. The projector that serves it deletes the row.",
    )
    op.create_table(
        "dead_letter_actions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True, cache=1), nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("letter", sa.BigInteger, nullable=False),
        sa.Column("parked_by", sa.Text, nullable=False),
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("event", JSONB),
        sa.Column("data", sa.LargeBinary),
        sa.Column("new_data", sa.LargeBinary),
        sa.Column("parked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="dead_letter_actions_pkey"),
        schema=schema,
        comment="An operator's action on a dead letter, the letter as it was, and the result. Append-only.",
    )
    op.create_index("dead_letter_actions_stream_id_idx", "dead_letter_actions", ["stream", "id"], schema=schema)
    op.create_index("dead_letter_actions_parked_by_id_idx", "dead_letter_actions", ["parked_by", "id"], schema=schema)


def _pruning(schema: str) -> None:
    op.create_table(
        "prunings",
        sa.Column("run", sa.Uuid, nullable=False),
        sa.Column("category", C_TEXT, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("recorded_before", TIME),
        sa.Column("archive", sa.Text),
        sa.Column("archive_digest", sa.Text),
        sa.Column("pruned_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("run", "category", "source", name="prunings_pkey"),
        schema=schema,
        comment="The number of events of a category that a run has pruned or archived, the time limit, the file.",
    )


def _projections(schema: str) -> None:
    op.create_table(
        "projections",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.Column("catalog", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.Column("incarnation", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("server", sa.Text),
        sa.Column("generation", sa.BigInteger, sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("tables", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
        sa.Column("categories", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
        sa.Column("declared_version", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("retry", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("name", name="projections_pkey"),
        sa.UniqueConstraint("generation", name="projections_generation_key"),
        schema=schema,
        comment="A projection, its live generation, its tables, its position in the store. The row is the fence.",
    )
    op.create_table(
        "checkpoints",
        sa.Column("generation", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Uuid),
        sa.Column("digest", sa.BigInteger),
        sa.Column("parked", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("generation", "stream", name="checkpoints_pkey"),
        schema=schema,
        comment="The version up to which a projection's generation has applied a stream, its event; parked or not.",
    )
    op.create_table(
        "places",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("topic_id", sa.Text, nullable=False),
        sa.Column("place", ARRAY(sa.BigInteger), nullable=False),
        sa.PrimaryKeyConstraint("projection", "topic", "shard", name="places_pkey"),
        schema=schema,
        comment="A projection's offset in a shard of a topic, in the broker's numbers. Saved with each batch.",
    )
    op.create_table(
        "handler_waits",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("projection", "process", "source", "type", "handler")),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("streams", sa.Integer, nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("projection", "process", "source", "type", name="handler_waits_pkey"),
        schema=schema,
        comment="A handler whose events wait in a process, and why. Renewed while they wait; an old row has expired.",
    )
    columns = ["generation", "stream"]
    parked = sa.text("parked")
    op.create_index("checkpoints_parked_idx", "checkpoints", columns, schema=schema, postgresql_where=parked)


def _rebuilds(schema: str) -> None:
    op.create_table(
        "rebuilds",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("declared_version", sa.Integer, nullable=False),
        sa.Column("shadow", sa.Text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("categories", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("started_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("name", name="rebuilds_pkey"),
        sa.UniqueConstraint("generation", name="rebuilds_generation_key"),
        schema=schema,
        comment="A rebuild: the generation that is being built, and the schema of its tables until the swap.",
    )


def _dead_letters(schema: str) -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True, cache=1), nullable=False),
        sa.Column("parked_by", sa.Text, nullable=False),
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("event", JSONB),
        sa.Column("data", sa.LargeBinary),
        sa.Column("parked_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="dead_letters_pkey"),
        sa.UniqueConstraint(
            "parked_by", "stream", "version", "event_id", name="dead_letters_parked_by_stream_version_event_id_key"
        ),
        schema=schema,
        comment="An event that could not be published or applied, or that waits behind one. It parks its stream.",
    )
    columns = ["parked_by", "stream", "cause"]
    op.create_index("dead_letters_parked_by_stream_cause_idx", "dead_letters", columns, schema=schema)
    category = sa.text("split_part(stream, '-'::text, 1)")
    groups = ("parked_by", "cause", category, "id")
    op.create_index("dead_letters_groups_idx", "dead_letters", groups, schema=schema)
    gaps = sa.text("cause = 'gap'::text")
    op.create_index("dead_letters_gaps_idx", "dead_letters", columns[:2], schema=schema, postgresql_where=gaps)


def _timers(schema: str) -> None:
    op.create_table(
        "timers",
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("name", C_TEXT, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("topic", sa.Text),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.SmallInteger, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("set_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("stream", "name", name="timers_pkey"),
        schema=schema,
        comment="A deadline: the event to append to the stream when it is due. Deleted when it fires, or is cancelled.",
    )
    op.create_index("timers_due_at_idx", "timers", ["due_at"], schema=schema)


def _inbox(schema: str) -> None:
    op.create_table(
        "inbox",
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("message", C_TEXT, nullable=False),
        sa.Column("event_id", sa.Uuid),
        sa.Column("parked", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("reply", JSON),
        sa.Column("received_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("handler", "message", name="inbox_pkey"),
        schema=schema,
        comment="A message without a version (id@source) that a handler has handled, or that is parked there. Pruned.",
    )
    op.create_index("inbox_received_at_idx", "inbox", ["received_at"], schema=schema)


def _snapshots(schema: str) -> None:
    op.create_table(
        "snapshots",
        sa.Column("stream", C_TEXT, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("saved_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("stream", "aggregate", name="snapshots_pkey"),
        schema=schema,
        comment="An aggregate's state after an event, for one version of its code. May be deleted at any time.",
    )
    op.create_table(
        "decision_snapshots",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("positions", sa.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("event_ids", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("saved_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("model", "key", name="decision_snapshots_pkey"),
        schema=schema,
        comment="A decision model's state after the events of its tags. May be deleted at any time.",
    )
