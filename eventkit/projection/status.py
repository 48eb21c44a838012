"""Reports the status of projections: the live generation, its lag behind the store, parked streams, a running rebuild.

It needs no code of a projection. So the categories that a projection reads are taken from its checkpoints.

The cost is bounded. Up to 20,000 streams are counted and compared one by one. With more streams, the newest events are
compared with their checkpoints, page by page, until a page is applied completely. This misses a single stream that was
left behind long ago; with `exact`, all streams are read.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg

from eventkit.storage.events import Newest, StreamLog
from eventkit.storage.projections import (
    BuildingGeneration,
    Checkpoint,
    Checkpoints,
    HandlerWait,
    HandlerWaits,
    ProjectionRegistry,
    Registered,
    StreamLag,
    behind,
    letters_by_cause,
    parked_by,
)

FEW = 20_000  # streams compared one by one; limit for counting parked streams and dead letters
_PAGE, _MAX_PAGES = 5_000, 10  # newest events that are compared with their checkpoints
_MAX_AGES = 10_000  # streams whose next event's age is looked up


class ProjectionLag(msgspec.Struct, frozen=True):
    """The events of the store that the projection has not applied; parked streams do not count.

    `exact`: all streams were compared. Otherwise the numbers cover only the newest events, and `more` says that
    there may be others.
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


class Statuses:
    """Reads the status of projections, over autocommit connections to the read models' database and to the store."""

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, store: psycopg.Connection[Any] | None = None
    ) -> None:
        """Use `connection` for the store, too, unless `store` is given."""
        self._connection = connection
        self._schema = schema
        self._log = StreamLog(store or connection, schema)
        self._checkpoints = Checkpoints(schema)
        self._waits = HandlerWaits(schema)

    def registered(self) -> list[Registered]:
        """Return all projections."""
        return ProjectionRegistry(self._schema).all(self._connection)

    def of(self, projection: Registered, *, exact: bool = False) -> Status:
        """Return the status of one projection; `exact` reads all of its checkpoints, letters and streams."""
        upto = None if exact else FEW + 1
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
            exact or max(count, sum(letters.values())) <= FEW,
            self._waits.all(self._connection, projection.name),
            projection.retry,
        )

    def _lag(self, generation: int, *, exact: bool) -> ProjectionLag:
        categories = set(self._checkpoints.categories(self._connection, generation))
        if not exact and self._log.has_more_than(FEW):
            return self._lag_of_newest(generation, categories)
        events, streams, following = 0, 0, []
        for item in self._behind(generation):
            if item.stream.partition("-")[0] in categories and not item.parked:
                events += item.version - item.applied
                streams += 1
                if streams <= _MAX_AGES:
                    following.append((item.stream, item.applied + 1))
        age = self._log.age(following) if following else None
        return ProjectionLag(events, streams, age or 0.0)

    def _lag_of_newest(self, generation: int, categories: set[str]) -> ProjectionLag:
        events, oldest, before, streams = 0, 0.0, None, set[str]()
        for _ in range(_MAX_PAGES):
            page = self._log.newest(before, _PAGE)
            known = self._checkpoints.read(self._connection, generation, list({event.stream for event in page}))
            left = [event for event in page if _is_left(event, known.get(event.stream), categories)]
            events += len(left)
            streams.update(event.stream for event in left)
            oldest = max([oldest, *(event.age for event in left)])
            if not left or len(page) < _PAGE:
                return ProjectionLag(events, len(streams), oldest, exact=False)
            before = page[-1].position
        return ProjectionLag(events, len(streams), oldest, exact=False, more=True)

    def _behind(self, generation: int) -> Iterator[StreamLag]:
        return behind(self._log, self._checkpoints, self._connection, generation)


def _is_left(event: Newest, checkpoint: Checkpoint | None, categories: set[str]) -> bool:
    """Whether a projection reads an event that is neither applied nor behind a dead letter."""
    if checkpoint is None:
        return event.stream.partition("-")[0] in categories
    return not checkpoint.parked and checkpoint.version < event.version
