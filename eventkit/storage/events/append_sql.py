"""The append statement and its parameters: for one event or many, for each kind of expected version.

    s: lock or create the stream rows, raise version   e: insert the events, in order, and read the mode
    o: their outbox rows, unless Debezium publishes them   m: their messages for Debezium, unless the relay does

The statement for one event writes its message for Debezium in a condition of the outermost select, which costs less
than a CTE or a column.

Where a stream is not as expected, `s` returns no row, and nothing after it is written. There are three kinds of `s`, in
this order: any version (an upsert), no stream (insert or nothing), a version (an update `where version = expected`; an
upsert would write version 1 to a stream that does not exist).

A guard is an entry without events. Its stream's row is locked with the others, in the same order, and its version is
returned unchanged. The row is updated, not only locked: a caller under REPEATABLE READ then gets its 40001. The guard
of a missing stream leaves a row at version 0, and an append that expects no stream accepts that row.
"""

from typing import Any, NamedTuple, Protocol

from eventkit.domain.codec import stored_size
from eventkit.storage.db import plain_array, quoted, text_array
from eventkit.storage.debezium import FOR_DEBEZIUM, FOR_RELAY, MODE
from eventkit.storage.entry import Entry
from eventkit.storage.tables import shard_of

# The caller's commit must be durable before the relay may see it; `remote_apply` is never lowered. The condition is
# always true. It is in the outermost select, because PostgreSQL does not run a CTE that no other part of the statement
# reads, and it is no column, because a column costs more than a condition, on the server and on the client.
_DURABLE = """(current_setting('synchronous_commit') not in ('off', 'local')
        or set_config('synchronous_commit', 'on', true) is not null)"""

# The size that the relay reads and sends: jsonb writes numbers without exponents. For one event the client counts it.
_BYTES = "octet_length(data::text) + octet_length(metadata::text) as bytes"

_ONE = """with {before}s as (
  {lock}
  returning version
), e as (
  insert into {s}.events (id, source, stream, version, type, schema_version, data, metadata)
  select %(id)s::uuid, %(source)s::text, %(stream)s::text, s.version, %(type)s::text, %(schema_version)s::smallint,
         %(data)s::jsonb, %(metadata)s::jsonb
    from s
  returning position, version, {mode} as mode{event}
), o as (
  insert into {s}.outbox (position, topic, shard, bytes)
  select position, %(topic)s::text, %(shard)s::smallint, %(bytes)s::int from e
   where %(topic)s::text is not null and {for_relay}
){then}
select %(stream)s::text, e.version, e.position{columns}
  from e{joins}
 where {durable}
   and case when %(topic)s::text is not null and {for_debezium}
            then {s}.to_debezium(%(topic)s::text, e.position)::text is not null else true end{end}"""

ONE_LOCKS = (
    """insert into {s}.streams as t (stream, version) select %(stream)s::text, 1{source} where {only}
  on conflict (stream) do update set version = t.version + 1""",
    """insert into {s}.streams as t (stream, version) select %(stream)s::text, 1{source} where {only}
  on conflict (stream) do nothing""",
    """update {s}.streams as t set version = t.version + 1{source}
   where t.stream = %(stream)s::text and t.version = %(expected)s::int and {only}""",
)

# `order by ord` is necessary: without it the join returns the events in any order, and they draw their positions in
# that order. Every call locks the stream rows in the same order, so two calls cannot deadlock.
_MANY = """with w as materialized (
  select * from unnest(%(streams)s::text[], %(counts)s::int[], %(topics)s::text[], %(shards)s::smallint[])
    with ordinality w(stream, n, topic, shard, nth)
), d as materialized (
  select * from unnest(%(nths)s::int[], %(backs)s::int[], %(ids)s::uuid[], %(types)s::text[],
                       %(schema_versions)s::smallint[], %(data)s::jsonb[], %(metadata)s::jsonb[])
    with ordinality d(nth, back, id, type, schema_version, data, metadata, ord)
), {before}s as (
  {lock}
  returning t.stream, t.version
), e as (
  insert into {s}.events (id, source, stream, version, type, schema_version, data, metadata)
  select d.id, %(source)s::text, s.stream, s.version - d.back, d.type, d.schema_version, d.data, d.metadata
    from s join w on w.stream = s.stream join d on d.nth = w.nth
   order by d.ord
  returning position, id, stream, version, {mode} as mode, {bytes}{event}
), o as (
  insert into {s}.outbox (position, topic, shard, bytes)
  select e.position, w.topic, w.shard, e.bytes from e join d on d.id = e.id join w on w.nth = d.nth
   where w.topic <> '' and {for_relay}
), m as (
  select {s}.to_debezium(x.topic, x.position)
    from (select w.topic, e.position from e join d on d.id = e.id join w on w.nth = d.nth
           where w.topic <> '' and {for_debezium} order by e.position offset 0) x
){then}
select s.stream, s.version::int, {position}{columns}
  from s left join e on e.stream = s.stream{joins}
 where (select count(*) from m) >= 0 and {durable}{group}{end}"""

MANY_LOCKS = (
    """insert into {s}.streams as t (stream, version) select stream, n from w{source} where {only}
   order by stream collate "C"
  on conflict (stream) do update set version = t.version + excluded.version""",
    """insert into {s}.streams as t (stream, version) select stream, n from w{source} where {only}
   order by stream collate "C"
  on conflict (stream) do nothing""",
    """update {s}.streams as t set version = t.version + w.n from w{source}
   where t.stream = w.stream and t.version = %(expected)s::int and {only}""",
)

_VERSIONS = "select stream, version::int from {s}.streams where stream = any(%(streams)s::text[])"
_PLACES = "select id::text, stream, version, position from {s}.events where id = any(%(ids)s::uuid[])"


ANY_VERSION, NEW_STREAM, AT_VERSION = range(3)  # the kinds of lock


class SourceTopics(Protocol):
    """The part of a catalog that an append needs."""

    name: str
    has_personal: bool

    def outgoing(self, stream: str) -> str | None:
        """Return the topic that the relay sends a stream's events to; None where they go to no broker."""


class SqlParts(NamedTuple):
    """The SQL that tags, a decision or inline projections add to the append statement."""

    before: str = ""  # CTEs before the one that locks streams
    source: str = ""  # another source of that CTE, read before it locks
    only: str = "true"  # the condition for writing at all
    event: str = ""  # more columns that the insert of events returns
    then: str = ""  # CTEs after the events
    columns: str = ""  # more columns of the result, which then has a row for each event
    joins: str = ""  # the sources of these columns
    end: str = ""  # more rows of the result


NO_PARTS = SqlParts()


def one_sql(s: str, lock: str, parts: SqlParts) -> str:
    """Return the statement for one event, in the schema of that quoted name."""
    lock = lock.format(s=s, source=f" from {parts.source}" if parts.source else "", only=parts.only)
    return _ONE.format(s=s, lock=lock, **_always(s), **parts._asdict())


def many_sql(s: str, lock: str, parts: SqlParts) -> str:
    """Return the statement for any number of events, in the schema of that quoted name."""
    lock = lock.format(s=s, source=f", {parts.source}" if parts.source else "", only=parts.only)
    by_stream = {"position": "max(e.position)", "group": "\n group by s.stream, s.version"}
    rows = {"position": "e.position", "group": ""} if parts.columns else by_stream
    return _MANY.format(s=s, bytes=_BYTES, lock=lock, **rows, **_always(s), **parts._asdict())


def _always(s: str) -> dict[str, str]:
    conditions = {"for_relay": FOR_RELAY.format(mode="e.mode"), "for_debezium": FOR_DEBEZIUM.format(mode="e.mode")}
    return {"durable": _DURABLE, "mode": MODE.format(s=s), **conditions}


class AppendSql:
    """The statements for one PostgreSQL schema, built once."""

    savepoint = "savepoint eventkit_append"
    rollback = "rollback to savepoint eventkit_append"
    release = "release savepoint eventkit_append"
    unique_id = "events_id_key"

    def __init__(self, schema: str, *, one: SqlParts = NO_PARTS, many: SqlParts = NO_PARTS) -> None:
        s = quoted(schema)  # `one` and `many` are added to the statements for one event and for several
        self.one = tuple(one_sql(s, lock, one) for lock in ONE_LOCKS)
        self.many = tuple(many_sql(s, lock, many) for lock in MANY_LOCKS)
        self.versions = _VERSIONS.format(s=s)
        self.places = _PLACES.format(s=s)


def kind_of(entry: Entry) -> int:
    """Return which of the three kinds of lock an entry needs."""
    return ANY_VERSION if entry.expected is None else NEW_STREAM if entry.expected == 0 else AT_VERSION


# Numbers go as text: psycopg types them by size, and each combination of types would prepare the statement anew.
def one_params(topics: SourceTopics, entry: Entry) -> dict[str, Any]:
    """Return the parameters of the statement for one event."""
    stream, (event,), (metadata,) = entry.stream, entry.events, entry.metadata
    data = event.data
    size = stored_size(data.encode()) + (len(metadata) if metadata == "{}" else stored_size(metadata.encode()))
    params = {
        "source": topics.name,
        "stream": str(stream),
        "topic": topics.outgoing(stream),
        "shard": str(shard_of(stream)),
        "metadata": metadata,
        "id": entry.ids[0].hex,
        "type": event.type,
        "schema_version": str(event.schema_version),
        "data": data,
        "bytes": str(size),
    }
    if entry.expected is not None:
        params["expected"] = str(entry.expected)
    return params


# Array literals, not lists: psycopg takes 14 µs for each JSON text of a list, a literal takes 0.3 µs.
def many_params(topics: SourceTopics, entries: list[Entry]) -> dict[str, Any]:
    """Return the parameters of the statement for any number of events."""
    rows = [
        (str(nth), str(len(entry.events) - 1 - index), event_id.hex, event, metadata)
        for nth, entry in enumerate(entries, 1)
        for index, (event, event_id, metadata) in enumerate(zip(entry.events, entry.ids, entry.metadata, strict=True))
    ]
    params = {
        "source": topics.name,
        "streams": text_array(entry.stream for entry in entries),
        "counts": plain_array(str(len(entry.events)) for entry in entries),
        "topics": text_array(topics.outgoing(entry.stream) or "" for entry in entries),
        "shards": plain_array(shard_of(entry.stream) for entry in entries),
        "nths": plain_array(row[0] for row in rows),
        "backs": plain_array(row[1] for row in rows),
        "ids": plain_array(row[2] for row in rows),
        "types": text_array(row[3].type for row in rows),
        "schema_versions": plain_array(str(row[3].schema_version) for row in rows),
        "data": text_array(row[3].data for row in rows),
        "metadata": text_array(row[4] for row in rows),
    }
    if len(entries) == 1 and entries[0].expected is not None:
        params["expected"] = str(entries[0].expected)
    return params
