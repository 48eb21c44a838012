"""How projections are: which generation is live, how far it is behind the store, what is parked, what is being built.

Needs none of a projection's code, so it cannot know which categories one reads: those of which it has a checkpoint.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg

from eventkit.storage.behind import Behind, behind
from eventkit.storage.checkpoints import Checkpoints
from eventkit.storage.generations import letters_by_cause, parked_by
from eventkit.storage.projections import Building, Projections, Registered
from eventkit.storage.stream_log import StreamLog

_AGED = 10_000  # streams whose next events' age is looked up


class Lag(msgspec.Struct, frozen=True):
    """What the store has and the projection has not; parked streams do not count, they wait for somebody."""

    events: int
    streams: int
    seconds: float  # since the oldest event that is not applied was recorded


class Status(msgspec.Struct, frozen=True):
    """One projection; `lag` is None where its checkpoints tell nothing of what it reads."""

    name: str
    version: int
    generation: int
    tables: list[str]
    streams: int
    parked: int  # streams
    letters: dict[str, int]  # by cause
    lag: Lag | None
    building: Building | None


class Statuses:
    """Looks at the projections of one database, over autocommit connections to it and to the store."""

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, store: psycopg.Connection[Any] | None = None
    ) -> None:
        """Look for the store in the same database unless it is given."""
        self._connection = connection
        self._schema = schema
        self._log = StreamLog(store or connection, schema)
        self._checkpoints = Checkpoints(schema)

    def registered(self) -> list[Registered]:
        """Return all projections."""
        return Projections(self._schema).all(self._connection)

    def of(self, projection: Registered) -> Status:
        """Look at one."""
        count, parked = self._checkpoints.count(self._connection, projection.generation)
        return Status(
            projection.name,
            projection.declared_version,
            projection.generation,
            projection.tables,
            count,
            parked,
            letters_by_cause(self._connection, self._schema, parked_by(projection.name, projection.generation)),
            self._lag(projection.generation) if count else None,
            projection.building,
        )

    def _lag(self, generation: int) -> Lag:
        categories = set(self._checkpoints.categories(self._connection, generation))
        events, streams, following = 0, 0, []
        for item in self._behind(generation):
            if item.stream.partition("-")[0] in categories and not item.parked:
                events += item.version - item.applied
                streams += 1
                if streams <= _AGED:
                    following.append((item.stream, item.applied + 1))
        age = self._log.age(following) if following else None
        return Lag(events, streams, age or 0.0)

    def _behind(self, generation: int) -> Iterator[Behind]:
        return behind(self._log, self._checkpoints, self._connection, generation)
