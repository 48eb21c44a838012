"""What the relay's tests share: a database with events in its outbox, and connections like the relay's."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from eventkit.storage.connection import connect
from eventkit.storage.outbox import READING

Connect = Callable[[str], psycopg.Connection[Any]]

APPEND = """
with place as (
  insert into eventkit.streams (stream, version) values (%(stream)s, 1)
  on conflict (stream) do update set version = streams.version + 1 returning version
), event as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select gen_random_uuid(), 'shop', %(stream)s, version, 'Happened', 1, jsonb_build_object('text', %(text)s::text), '{}'
    from place returning position
)
insert into eventkit.outbox (position, topic, shard, bytes) select position, %(topic)s, %(shard)s, 50 from event
returning position
"""


@pytest.fixture
def relay_connection(database_url: str) -> Connect:
    """Open connections as the relay process does."""
    return lambda name: connect(database_url, name=name, autocommit=True, options=READING)


@pytest.fixture
def writer(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A service's connection."""
    with psycopg.connect(database_url) as connection:
        yield connection


def append(
    writer: psycopg.Connection[Any], stream: str, *, text: str = "", topic: str = "shop.order", shard: int = 0
) -> int:
    """Append one event without the catalog; return its position."""
    row = writer.execute(APPEND, {"stream": stream, "text": text, "topic": topic, "shard": shard}).fetchone()
    assert row is not None
    return int(row[0])
