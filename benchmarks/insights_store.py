"""A large database for the insights: streams, events, checkpoints, dead letters and deadlines, made on the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

CATEGORIES = ("order", "payment", "shipment", "customer", "invoice")
RARE = "OrderDisputed"
PROJECTIONS = 12
_CATEGORY = "(array['order','payment','shipment','customer','invoice'])[n % 5 + 1] || '-' || n"

_STREAMS = f"""insert into eventkit.streams (stream, version)
select {_CATEGORY} as stream, (%(events)s - 1 - n) / %(streams)s + 1 from generate_series(0, %(streams)s - 1) n
 order by n"""
# Three of ten events have a story, each caused by the one before. The newest was recorded just now.
_EVENTS = f"""insert into eventkit.events
       (id, source, stream, version, type, schema_version, data, metadata, recorded_at)
select md5(i::text)::uuid, 'shop', {_CATEGORY}, i / %(streams)s + 1,
       case when i %% 1000003 = 7 then '{RARE}' else 'Kind' || i %% 20 end, 1,
       jsonb_build_object('customer', 'c-' || i %% 97, 'amount', i %% 1000, 'note', 'as usual'),
       case when i %% 10 between 1 and 3 then jsonb_build_object('correlation_id', 'story-' || i / 10,
            'causation_id', md5((i - 1)::text)::uuid) else '{{}}' end,
       now() - (%(events)s - i) * interval '20 ms'
  from generate_series(0, %(events)s - 1) i, lateral (select i %% %(streams)s as n) s order by i"""
_OUTBOX = """insert into eventkit.outbox (position, topic, shard, bytes)
select position, 'shop.' || split_part(stream, '-', 1), position %% 256, 100 from eventkit.events
 order by position desc limit %(unsent)s"""
_PROJECTIONS = """insert into eventkit.projections (name, kind, generation, declared_version)
select 'projection_' || n, 'table', n, 1 from generate_series(1, %(projections)s) n"""
# The first four have read the streams: one is at the end, one a little behind, one far, one has parked streams.
_CHECKPOINTS = f"""insert into eventkit.checkpoints (generation, stream, version, parked)
select g, {_CATEGORY}, greatest(0, (%(events)s - lag - 1 - n + %(streams)s) / %(streams)s), g = 4 and n %% 10 = 0
  from unnest(array[1, 2, 3, 4], array[0, 500, %(events)s / 10, 0]) p(g, lag),
       generate_series(0, %(streams)s - 1) n"""
_LETTERS = f"""insert into eventkit.dead_letters
       (parked_by, stream, version, position, event_id, type, cause, error, attempts, event, data, parked_at)
select case when i %% 100 = 0 then 'relay' else 'projection:projection_' || 1 + i %% 7 || ':' || 1 + i %% 7 end,
       {_CATEGORY}, i / %(streams)s + 1, case when i %% 100 = 0 then i end, md5(i::text)::uuid, 'Kind' || i %% 20,
       (array['behind', 'behind', 'failed', 'undecodable', 'gap'])[1 + i / 7 %% 5], 'ValueError at shop.py:12', 1,
       '{{}}', convert_to('{{"amount": 1}}', 'UTF8'), now() - (%(letters)s - i) * interval '100 ms'
  from generate_series(0, %(letters)s - 1) i, lateral (select i * 7 %% %(streams)s as n) s order by i"""
_TIMERS = f"""insert into eventkit.timers
       (stream, name, due_at, event_id, source, shard, type, schema_version, data, metadata)
select {_CATEGORY}, 'late', now() + (n - 500) * interval '1 s', gen_random_uuid(), 'shop', 0, 'Late', 1, '{{}}', '{{}}'
  from generate_series(0, %(few)s - 1) n"""
_INBOX = """insert into eventkit.inbox (handler, message, event_id)
select 'h', 'message:' || n, gen_random_uuid() from generate_series(0, %(few)s - 1) n"""
_ACTIONS = """insert into eventkit.dead_letter_actions (at, actor, action, result, letter, parked_by, stream, version,
       event_id, type, cause, error, attempts, parked_at)
select now() - (%(few)s - n) * interval '1 s', 'ann', 'discard', 'done', n, 'relay', 'order-' || n, 1,
       gen_random_uuid(), 'Kind1', 'refused', 'too large', 1, now() from generate_series(0, %(few)s - 1) n"""
_PROCESSES = """insert into eventkit.processes (id, role, name, host, pid, version, started_at, state)
select gen_random_uuid(), 'projector', 'projection_' || 1 + n %% 12, 'host-' || n, n, '1', now(),
       jsonb_build_object('projections', jsonb_build_object('projection_' || 1 + n %% 12, jsonb_build_object(
         'version', 1, 'applied', n, 'rate', 100.5, 'shards', (select jsonb_object_agg('shop.order/' || s,
           jsonb_build_array(to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), true)) from generate_series(0, 11) s))))
  from generate_series(0, 35) n"""
_IDENTITY = """select setval(pg_get_serial_sequence('eventkit.projections', 'generation'),
       (select max(generation) from eventkit.projections))"""
_FILLED = ("streams", "events", "outbox", "projections", "checkpoints", "dead_letters", "timers", "inbox")

_INDEXES = """select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname,
       pg_get_constraintdef(c.oid)
  from pg_index i left join pg_constraint c on c.conindid = i.indexrelid
 where i.indrelid = %s::regclass and not i.indisprimary"""


class Sizes(msgspec.Struct, frozen=True):
    """The numbers of rows."""

    streams: int
    events: int
    letters: int


def fill(url: str, sizes: Sizes) -> None:
    """Fill a database; indexes other than primary keys are made when the rows are there."""
    few = max(10, sizes.streams // 10)
    params = {"few": few, "unsent": max(10, sizes.events // 100), "projections": PROJECTIONS}
    params |= msgspec.structs.asdict(sizes)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("set maintenance_work_mem = '512MB'")
        connection.execute("set work_mem = '128MB'")
        _run(connection, _STREAMS, params)
        with _without_indexes(connection, "eventkit.events"):
            _run(connection, _EVENTS, params)
        for statement in (_OUTBOX, _PROJECTIONS, _CHECKPOINTS):
            _run(connection, statement, params)
        with _without_indexes(connection, "eventkit.dead_letters"):
            _run(connection, _LETTERS, params)
        for statement in (_TIMERS, _INBOX, _ACTIONS, _PROCESSES, _IDENTITY):
            _run(connection, statement, params)
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")


def _run(connection: psycopg.Connection[Any], statement: str, params: dict[str, int]) -> None:
    for name, value in params.items():
        statement = statement.replace(f"%({name})s", f"{value}::bigint")
    connection.execute(statement.replace("%%", "%").encode())


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any], table: str) -> Iterator[None]:
    found = connection.execute(_INDEXES, [table]).fetchall()
    for index, _, constraint, _ in found:
        drop = f"alter table {table} drop constraint {constraint}" if constraint else f"drop index {index}"
        connection.execute(drop.encode())
    yield
    for _, definition, constraint, meaning in found:
        add = f"alter table {table} add constraint {constraint} {meaning}" if constraint else definition
        connection.execute(add.encode())
