"""Records the consumer groups of this installation's projections at brokers, and the abandoned ones.

A group without a reader keeps Redis from trimming, and its queues at RabbitMQ and ActiveMQ grow. So a group is recorded
before it is made, and abandoned with its projection. Its row is deleted when the broker has removed it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import database_errors, in_schema

_FOLLOW = """insert into {s}.groups as g (name, broker, projection, topics)
             values (%(name)s, %(broker)s, %(projection)s, %(topics)s)
             on conflict (name, broker) do update set abandoned_at = null,
                topics = array(select distinct t from unnest(g.topics || excluded.topics) t order by 1)
              where g.abandoned_at is not null or not g.topics @> excluded.topics"""
_ABANDON = """update {s}.groups set abandoned_at = clock_timestamp()
               where projection = %s and abandoned_at is null"""
_ALL = "select name, broker, projection, topics, abandoned_at is not null from {s}.groups order by name, broker"
_DELETE = "delete from {s}.groups where name = %s and broker = %s and abandoned_at is not null"
_DISOWN = "delete from {s}.groups where projection = %s"


class ConsumerGroup(NamedTuple):
    """A group at one kind of broker."""

    name: str
    broker: str
    projection: str
    topics: list[str]
    abandoned: bool


class ConsumerGroups:
    """The consumer groups of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def follow(
        self, connection: psycopg.Connection[Any], name: str, *, broker: str, projection: str, topics: Sequence[str]
    ) -> None:
        """Record a group before it is joined."""
        params = {"name": name, "broker": broker, "projection": projection, "topics": list(topics)}
        connection.execute(self._sql(_FOLLOW), params)

    def abandon(self, connection: psycopg.Connection[Any], projection: str) -> None:
        """Mark a projection's groups as abandoned: they may be removed at the broker."""
        connection.execute(self._sql(_ABANDON), (projection,))

    def disown(self, connection: psycopg.Connection[Any], projection: str) -> None:
        """Delete the rows of groups that belong to another database, of which this one is a copy."""
        connection.execute(self._sql(_DISOWN), (projection,))

    def all(self, connection: psycopg.Connection[Any]) -> list[ConsumerGroup]:
        """Return all groups, by name."""
        with database_errors():
            return [ConsumerGroup(*row) for row in connection.execute(self._sql(_ALL))]

    def removed(self, connection: psycopg.Connection[Any], group: ConsumerGroup) -> None:
        """Delete the row of an abandoned group that the broker has removed."""
        connection.execute(self._sql(_DELETE), (group.name, group.broker))

    def _sql(self, statement: str) -> bytes:
        return in_schema(statement, self._schema)
