"""A source of all events for the reader: the store in order of position, under concurrent writers.

No row leaves `events`. So a reader that reads a span again may return the same events again, and the caller must skip
the events that it has.
"""

from typing import Any

import psycopg

from eventkit.storage.db import database_errors, in_schema, quoted
from eventkit.storage.outbox.gap_reader import Ask, Horizon, LogPage
from eventkit.storage.outbox.outbox import EVENT, NEARLY_BYTES, Pages, read_horizon

_OF_LOG = {
    "event": EVENT.format(topic="''", bytes=NEARLY_BYTES),
    "pending_of_event": "",
    "span": """{s}.events e cross join lateral (select e.position) o
      where e.position > s.low and e.position <= s.high and e.position <> all(%(in_flight)s::bigint[])""",
}

_DRAWN = """select greatest((select max(position) from {s}.events), pg_sequence_last_value(q), 0)
  from (select pg_get_serial_sequence('{s}.events', 'position')::regclass as q) x
 where has_sequence_privilege(q, 'select')"""


class EventLog:
    """All events, over one autocommit connection; a `PositionSource` of the reader."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection  # used by one thread
        self._schema = schema
        self._pages = Pages(connection, schema, {name: part.format(s=quoted(schema)) for name, part in _OF_LOG.items()})

    def horizon(self) -> Horizon:
        """Return the highest visible position and the possible owners of lower ones that are not visible."""
        return read_horizon(self._connection, self._schema)

    def drawn(self) -> int | None:
        """Return the highest position that was ever drawn; None where this role may not see it."""
        with database_errors():
            row = self._connection.execute(in_schema(_DRAWN, self._schema)).fetchone()
        return int(row[0]) if row else None

    def fetch(self, ask: Ask) -> LogPage:
        """Read events in one statement; the returned events are durable."""
        return self._pages.fetch(ask, {})
