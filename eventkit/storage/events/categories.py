"""Lists the categories of streams that an event store has, with the source of their events, and the relay's topics.

A projector subscribes to categories; preflight checks the settings of topics. The list of categories is a loose scan
over the events' index on (stream, version): one step a category, however many streams there are. A category whose
events were all pruned is found in the record of prunings.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg

from eventkit.storage.db import database_errors, in_schema, plain_text

# "." is the character after the "-" that ends a category, so "order." is above every stream of "order".
_NEXT = """select split_part(e.stream, '-', 1), e.source from {s}.events e
            where e.stream >= %s order by e.stream, e.version limit 1"""
# A catalog may name a category's topic; such a topic is known only from outbox rows or from `topics`.
_PENDING = "select distinct topic from (select topic from {s}.outbox order by position limit 10000) o"
_SENT = "select topic from {s}.topics"
_RECORD = "insert into {s}.topics (topic) values (%s) on conflict do nothing"
_RECORD_HELD = """insert into {s}.held_topics as h (topic, reason) values (%s, %s)
 on conflict (topic) do update set reason = excluded.reason, held_at = excluded.held_at,
    since = case when h.held_at > excluded.held_at - interval '10 min' then h.since else excluded.since end"""
_HELD = "select topic, reason from {s}.held_topics where held_at > clock_timestamp() - interval '10 min' order by topic"
_PRUNED = "select distinct category, source from {s}.prunings order by 1, 2"


def stored_categories(connection: psycopg.Connection[Any], schema: str) -> Iterator[tuple[str, str]]:
    """Yield each category once, with the source of its first event, or of its first pruning."""
    statement = in_schema(_NEXT, schema)
    above = ""
    seen: set[str] = set()
    with database_errors():
        while row := connection.execute(statement, (above,)).fetchone():
            yield row
            seen.add(row[0])
            above = f"{row[0]}."
        for category, source in connection.execute(in_schema(_PRUNED, schema)).fetchall():
            if category not in seen:
                yield category, source
                seen.add(category)


def topics_in_use(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return the known topics, and the default topic of each category."""
    defaults = {f"{source}.{category}" for category, source in stored_categories(connection, schema)}
    return sorted(defaults | known_topics(connection, schema))


def known_topics(connection: psycopg.Connection[Any], schema: str) -> set[str]:
    """Return the topics that a relay has sent to, and the topics of the oldest unsent events."""
    with database_errors():
        return {
            topic
            for statement in (_SENT, _PENDING)
            for (topic,) in connection.execute(in_schema(statement, schema)).fetchall()
        }


def record_held(connection: psycopg.Connection[Any], schema: str, reasons: Mapping[str, str]) -> None:
    """Record the topics that the relay sends nothing to for now, with the reasons, for status commands."""
    with database_errors():
        for topic, reason in sorted(reasons.items()):
            connection.execute(in_schema(_RECORD_HELD, schema), (topic, plain_text(reason)))


def held_topics(connection: psycopg.Connection[Any], schema: str) -> dict[str, str]:
    """Return the topics that the relay held in the last ten minutes and that the oldest events need, with reasons."""
    with database_errors():
        waiting = {topic for (topic,) in connection.execute(in_schema(_PENDING, schema)).fetchall()}
        held = connection.execute(in_schema(_HELD, schema)).fetchall()
    return {topic: reason for topic, reason in held if topic in waiting}


def record_topic(connection: psycopg.Connection[Any], schema: str, topic: str) -> None:
    """Record that a relay sends to a topic."""
    with database_errors():
        connection.execute(in_schema(_RECORD, schema), (topic,))
