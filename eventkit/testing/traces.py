"""The effects of a projection in its database: rows, appended events and deadlines, which can also be fired."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from eventkit.domain.catalog import Catalog
from eventkit.domain.master_keys import MasterKeys
from eventkit.messaging import SESSION, TimerWorker
from eventkit.storage.db import Executor, connect
from eventkit.storage.events import EventStore, encryption_of
from eventkit.storage.timers import waiting

_OPENING = Executor("testing", writes=False, bind_arguments=None)
Placed = tuple[str, Any]
"""A stream and an event in it."""


class Traces:
    """The effects in one database, decoded by a catalog; without master keys personal data is redacted."""

    def __init__(self, catalog: Catalog, database: str, master_keys: MasterKeys | None) -> None:
        self._store = EventStore(catalog, master_keys=master_keys)
        self._database = database
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(database, name="testing", schema=None),
            poolclass=sa.NullPool,
        )

    def create(self, table: sa.Table) -> None:
        """Create a table if it is missing."""
        table.create(self._engine, checkfirst=True)

    def rows(self, source: sa.Table | sa.Select[Any]) -> list[Mapping[str, Any]]:
        """Return the rows of a table or a query."""
        query = sa.select(source) if isinstance(source, sa.Table) else source
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def position(self) -> int:
        """Return the position of the last event in the store."""
        with self._connect("testing") as connection:
            last = next(self._store.read_all(connection, backwards=True, limit=1), None)
        return (last.position or 0) if last else 0

    def appended(self, after: int) -> list[Placed]:
        """Return the events above a position."""
        with self._connect("testing") as connection:
            return [(found.stream, found.event) for found in self._store.read_all(connection, after=after)]

    def deadlines(self) -> list[Placed]:
        """Return the waiting deadlines, the soonest first."""
        with self._connect("testing") as connection:
            found = waiting(connection, self._store.schema)
            _OPENING.run(connection, encryption_of(self._store).open(found))
        return [(one.stream, self._store.catalog.event_of(one)) for one in found]

    def fire(self, as_of: datetime) -> None:
        """Append the events of all deadlines that are due at a time."""
        TimerWorker(self._connect, schema=self._store.schema, owner="testing").fire(as_of)

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        return connect(self._database, name=name, autocommit=True, options=SESSION)
