"""Reports the status of projections: the live generation, its lag behind the store, parked streams, a running rebuild.

It needs no code of a projection. So the categories that a projection reads are taken from its checkpoints.

The cost is bounded. Up to 20,000 streams are counted and compared one by one. With more streams, the newest events are
compared with their checkpoints, and samples of the older ones. This misses a single stream that was left behind long
ago; with `exact`, all streams are read.
"""

from typing import Any

import msgspec
import psycopg

from eventkit.insights.projections.projection_lag import OF_ONE, ProjectionLags, store_head
from eventkit.insights.reader import InsightReader
from eventkit.storage.pauses import Pause, Pauses
from eventkit.storage.projections import (
    BuildingGeneration,
    Checkpoints,
    HandlerWait,
    HandlerWaits,
    ProjectionRegistry,
    Registered,
    letters_by_cause,
    parked_by,
)

STATUS_LIMIT = OF_ONE.streams  # compared one by one; also the limit for counting parked streams and dead letters


class ProjectionLag(msgspec.Struct, frozen=True):
    """The events of the store that the projection has not applied; parked streams do not count.

    `exact`: all streams were compared. Otherwise the numbers cover only the newest events; `more` says that there are
    others, and the number of events is an estimate by samples.
    """

    events: int
    streams: int
    seconds: float  # since the oldest unapplied event was recorded
    exact: bool = True
    more: bool = False


class Status(msgspec.Struct, frozen=True):
    """The status of one projection; `lag` is None if it has no checkpoints, so that its categories are unknown."""

    name: str
    version: int
    generation: int
    tables: list[str]
    streams: int
    parked: int  # streams
    letters: dict[str, int]  # by cause
    lag: ProjectionLag | None
    building: BuildingGeneration | None
    exact: bool = (
        True  # else `streams` is the planner's estimate, and parked streams and letters are counted up to 20,001
    )
    waits: list[HandlerWait] = []  # handlers whose events wait, by process
    retry: dict[str, Any] = {}  # the handlers' policies, as declared by the last projector that started
    paused: Pause | None = None


class Statuses:
    """Reads the status of projections, over autocommit connections to the read models' database and to the store."""

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, store: psycopg.Connection[Any] | None = None
    ) -> None:
        """Use `connection` for the store, too, unless `store` is given."""
        self._connection = connection
        self._schema = schema
        self._reader = InsightReader(connection, schema)
        self._store = self._reader if store is None else InsightReader(store, schema)
        self._checkpoints = Checkpoints(schema)
        self._waits = HandlerWaits(schema)

    def registered(self) -> list[Registered]:
        """Return all projections."""
        return ProjectionRegistry(self._schema).all(self._connection)

    def of(self, projection: Registered, *, exact: bool = False) -> Status:
        """Return the status of one projection; `exact` reads all of its checkpoints, letters and streams."""
        upto = None if exact else STATUS_LIMIT + 1
        count, parked = self._checkpoints.count(self._connection, projection.generation, upto=upto)
        by = parked_by(projection.name, projection.generation)
        letters = letters_by_cause(self._connection, self._schema, by, upto=upto)
        return Status(
            projection.name,
            projection.declared_version,
            projection.generation,
            projection.tables,
            count,
            parked,
            letters,
            self._lag(projection.generation, exact=exact) if count else None,
            projection.building,
            exact or max(count, sum(letters.values())) <= STATUS_LIMIT,
            self._waits.all(self._connection, projection.name),
            projection.retry,
            Pauses(self._connection, self._schema).find("projection", projection.name),
        )

    def _lag(self, generation: int, *, exact: bool) -> ProjectionLag | None:
        head = store_head(self._store, OF_ONE)
        lag = ProjectionLags(self._reader, self._store, head).all({generation: ()}, exact=exact).get(generation)
        if lag is None:
            return None
        seconds = 0.0 if lag.oldest_at is None else (head.now - lag.oldest_at).total_seconds()
        return ProjectionLag(lag.events, lag.streams, seconds, lag.is_exact, lag.is_estimated)
