"""The demo's questions to the database while it runs: the size of the backlog, and the number of applied events."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Table

from examples.flights.events import RUN
from examples.flights.expected import Rows
from examples.flights.read_models import ReadModel

PENDING = "select max(position) from {store}.outbox"
PENDING_UP_TO = "select exists(select from {store}.outbox where position <= %s)"
APPLIED = """
    select (select coalesce(sum(scheduled + departed + cancelled), 0) from {run}.departure_boards)
         + (select coalesce(sum(arrived + diverted), 0) from {run}.carrier_delays)
"""
PROJECTED = """
    select coalesce(min(events), 0), count(*) from
      (select sum(version) as events from {store}.checkpoints where not parked group by generation) as projections
"""
RECORDED = "select count(*) from {store}.events"
TORN = """
    select count(*) from {run}.flights as f full join {store}.streams as s on s.stream = 'flight-' || f.flight
     where f.flight is null or s.stream is null
"""


class State:
    """Reads the run's tables at each call."""

    def __init__(self, connection: "psycopg.Connection[Any]", schema: str) -> None:
        """Look through an autocommit connection."""
        self._connection = connection
        self._names = {"store": sql.Identifier(schema), "run": sql.Identifier(RUN)}

    def last_pending(self) -> int | None:
        """Return the highest position in the outbox, None if it is empty."""
        position: int | None = self._one(PENDING)[0]
        return position

    def pending_up_to(self, position: int) -> bool:
        """Return whether the outbox still has events up to a position."""
        return bool(self._one(PENDING_UP_TO, position)[0])

    def applied(self) -> int:
        """Return how many events the numbers of the read models add up to; cheap."""
        return int(self._one(APPLIED)[0])

    def projected(self, projections: int) -> int:
        """Return how many events the checkpoints of the slowest read model have passed."""
        events, found = self._one(PROJECTED)
        return int(events) if found == projections else 0

    def recorded(self) -> int:
        """Return how many events are committed."""
        return int(self._one(RECORDED)[0])

    def torn(self) -> int:
        """Return how many flights have their row without their events, or the reverse."""
        return int(self._one(TORN)[0])

    def read_models(self) -> dict[str, Rows]:
        """Return every read model's rows: a key and its numbers."""
        return {table.name: dict(self._rows(table)) for table in ReadModel.metadata.sorted_tables}

    def _rows(self, table: Table) -> Iterator[tuple[Any, tuple[int, ...]]]:
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
        key = len(table.primary_key)  # its columns stand first
        for row in self._connection.execute(
            sql.SQL("select {} from {}").format(columns, sql.Identifier(RUN, table.name))
        ):
            yield (row[0] if key == 1 else row[:key]), row[key:]

    def _one(self, statement: str, *values: int) -> tuple[Any, ...]:
        row = self._connection.execute(sql.SQL(statement).format(**self._names), values).fetchone()
        return row or ()
