"""Functions in the database: one refuses changes of recorded rows, one writes messages for Debezium."""

from eventkit.storage.tables.names import MAINTENANCE_ROLE

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
