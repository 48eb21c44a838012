"""How long a decision takes to be read among many tagged events: all events of one tag, in one statement."""

import random
import time
from statistics import median

import psycopg

from benchmarks.writers import bench
from eventkit import EventStore, QueryItem

A_TAG = 100  # events of one tag
READS = 300

# Events as an append writes them; those of one tag lie far apart in the table.
_FILL = """
with e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select gen_random_uuid(), 'bench', 'stored-' || n, 1, 'OrderPlaced', 1,
         jsonb_build_object('customer', 'customer-1', 'total', '12.50', 'note', repeat('x', 120)), '{}'
    from generate_series(1, %(events)s::int) n
  returning position, substr(stream, 8)::int as n
), s as (
  insert into eventkit.streams (stream, version) select 'stored-' || n, 1 from e
), t as (
  insert into eventkit.tags (tag, version) select 'decision:' || n, %(a_tag)s::int
    from generate_series(0, %(tags)s::int - 1) n
)
insert into eventkit.event_tags (tag, position) select 'decision:' || n %% %(tags)s::int, position from e"""


def decision_read_ms(url: str, events: int) -> float:
    """Store so many events, and return the median milliseconds of reading one tag's."""
    tags = max(1, events // A_TAG)
    with psycopg.connect(url) as connection:
        connection.execute(_FILL, {"events": events, "tags": tags, "a_tag": A_TAG})
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum analyze eventkit.event_tags, eventkit.events, eventkit.tags")
        store, chance = EventStore(bench), random.Random(1)
        return median(_read(connection, store, chance.randrange(tags)) for _ in range(READS))


def _read(connection: psycopg.Connection, store: EventStore, tag: int) -> float:
    began = time.perf_counter()
    store.query(connection, QueryItem([f"decision:{tag}"]))
    return (time.perf_counter() - began) * 1_000
