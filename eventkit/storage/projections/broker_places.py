"""Stores a projection's offset in each shard of a topic, in the broker's own numbers: its place.

A place is saved in the transaction of the batch, so it matches this database exactly. The broker's record of the
consumer group may be ahead (the database was restored to an earlier state) or gone (Kafka deletes the offsets of a
stopped group): the place decides. `topic_id` is the topic's identity at the broker, so a place is not valid on another
broker, or in a topic that was made anew. A place is an array of numbers, compared from the left.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from eventkit.storage.db import in_schema, plain_array, text_array

Place = tuple[int, ...]
Saved = tuple[str, int, str, Place]  # topic, shard, topic_id, place

_KNOWN = "select topic, shard, topic_id, place from {s}.places where projection = %s and topic = any(%s)"
_BEGIN = """insert into {s}.places as k (projection, topic, shard, topic_id, place)
select %(projection)s, topic, shard, i, p::bigint[]
  from unnest(%(topics)s::text[], %(shards)s::int[], %(ids)s::text[], %(places)s::text[]) g(topic, shard, i, p)
 order by topic, shard
on conflict (projection, topic, shard) do update set topic_id = excluded.topic_id, place = excluded.place
 where k.topic_id <> excluded.topic_id or k.place <> excluded.place"""
# A process that hangs in its transaction holds the rows of shards that are assigned to others by now: they do not wait
# for it, and save with a later batch. A late process does not move a place back.
_SAVE = """with given as (
  select * from unnest(%(topics)s::text[], %(shards)s::int[], %(ids)s::text[], %(places)s::text[]) g(topic, shard, i, p)
), free as (
  select k.topic, k.shard, g.i, g.p::bigint[] as p from {s}.places k join given g using (topic, shard)
   where k.projection = %(projection)s order by k.topic, k.shard for update of k skip locked
)
update {s}.places k set place = case when k.topic_id = f.i then greatest(k.place, f.p) else f.p end, topic_id = f.i
  from free f where k.projection = %(projection)s and k.topic = f.topic and k.shard = f.shard
returning k.topic, k.shard"""
_DELETE = "delete from {s}.places where projection = %s"


class BrokerPlaces:
    """The places of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def known(
        self, connection: psycopg.Connection[Any], projection: str, topics: Sequence[str]
    ) -> dict[tuple[str, int], tuple[str, Place]]:
        """Return topic_id and place of each shard that a projection has read."""
        rows = connection.execute(self._sql(_KNOWN), (projection, list(topics)))
        return {(topic, shard): (topic_id, tuple(place)) for topic, shard, topic_id, place in rows}

    def begin(self, connection: psycopg.Connection[Any], projection: str, places: Sequence[Saved]) -> None:
        """Set the places from which shards are read."""
        connection.execute(self._sql(_BEGIN), _params(projection, places))

    def save(
        self, connection: psycopg.Connection[Any], projection: str, places: Sequence[Saved]
    ) -> set[tuple[str, int]]:
        """Advance places, in one statement; return the shards that were advanced without waiting."""
        return set(connection.execute(self._sql(_SAVE), _params(projection, places)).fetchall())

    def forget(self, connection: psycopg.Connection[Any], projection: str) -> None:
        """Delete a projection's places: it reads every topic from the beginning."""
        connection.execute(self._sql(_DELETE), (projection,))

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)


def _params(projection: str, places: Sequence[Saved]) -> Mapping[str, Any]:
    return {
        "projection": projection,
        "topics": text_array([topic for topic, _, _, _ in places]),
        "shards": plain_array([shard for _, shard, _, _ in places]),
        "ids": text_array([topic_id for _, _, topic_id, _ in places]),
        "places": text_array([plain_array(place) for _, _, _, place in places]),
    }
