"""Gives events back to the relay where Debezium's place is lost: it makes their outbox rows anew.

Only an operator knows a moment at which Connect still ran. All events that were recorded since are sent again, those
that Debezium has sent too. A topic stands in no event, so the catalogs have to say it.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol

import psycopg

from eventkit.errors import StorageError
from eventkit.storage.db import database_errors, in_schema, plain_array, text_array
from eventkit.storage.tables import shard_of

_PAGE = 5_000  # events of a statement

# From the last position down, until a page has only older events: there is no index by time.
_EVENTS = """select position, stream, source, octet_length(data::text) + octet_length(metadata::text),
       recorded_at >= statement_timestamp() - %(age)s from {s}.events
 where position < %(below)s order by position desc limit %(limit)s"""
_INSERT = """insert into {s}.outbox (position, topic, shard, bytes)
select * from unnest(%s::bigint[], %s::text[], %s::smallint[], %s::int[]) on conflict (position) do nothing"""
_TOP = 2**63 - 1


class TopicNames(Protocol):
    """The part of a catalog that knows topics."""

    def outgoing(self, stream: str) -> str | None:
        """Return the topic of a stream's events; None where they go to no broker."""


class SendAgain:
    """Events of the last `age`; `catalogs` by the source that their events have."""

    def __init__(self, age: timedelta, catalogs: Mapping[str, TopicNames]) -> None:
        self._age = age
        self._catalogs = catalogs

    def run(self, connection: psycopg.Connection[Any], schema: str) -> Iterator[int]:
        """Make the outbox rows, a page at a time; yield the number of events of each."""
        below, recent = _TOP, True
        while recent:
            params = {"age": self._age, "below": below, "limit": _PAGE}
            with database_errors():
                page = connection.execute(in_schema(_EVENTS, schema), params).fetchall()
            recent = any(row[4] for row in page)
            rows = [
                (position, topic, stream, size)
                for position, stream, source, size, is_recent in page
                if is_recent and (topic := self._topic(source, stream)) is not None
            ]
            self._insert(connection, schema, rows)
            # crash point: some rows are there, the relay does not read yet -> another run makes the others
            yield len(rows)
            below = min((row[0] for row in page), default=0)

    def _topic(self, source: str, stream: str) -> str | None:
        if source not in self._catalogs:
            known = ", ".join(map(repr, self._catalogs)) or "none"
            raise StorageError(
                f"events of catalog {source!r} have to be sent again, and their topics are unknown (given: {known}): "
                "name each catalog with --catalog PACKAGE.MODULE:CATALOG"
            )
        return self._catalogs[source].outgoing(stream)

    def _insert(self, connection: psycopg.Connection[Any], schema: str, rows: list[tuple[int, str, str, int]]) -> None:
        arrays = (
            plain_array(row[0] for row in rows),
            text_array(row[1] for row in rows),
            plain_array(shard_of(row[2]) for row in rows),
            plain_array(row[3] for row in rows),
        )
        with database_errors():
            connection.execute(in_schema(_INSERT, schema), arrays)
