"""How projections are: which generation is live, how far it is behind the store, what is parked, what is being built.

Needs none of a projection's code, so it cannot know which categories one reads: those of which it has a checkpoint.

A look takes as long whatever there is: up to 20,000 streams are counted and compared one by one. Where there are more,
the newest events are compared with their checkpoints, page by page, until all of a page are applied. A single stream
that was left behind long ago is not seen then; an `exact` look sees it, and reads everything.
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

FEW = 20_000  # streams that are looked at one by one, and parked ones and letters that are counted
_PAGE, _PAGES = 5_000, 10  # newest events that are compared with their checkpoints
_AGED = 10_000  # streams whose next events' age is looked up


class ProjectionLag(msgspec.Struct, frozen=True):
    """What the store has and the projection has not; parked streams do not count, they wait for somebody.

    `exact` says that all streams were compared; else the numbers are those of the newest events alone, and where
    `more` is true there are more than those.
    """

    events: int
    streams: int
    seconds: float  # since the oldest event that is not applied was recorded
    exact: bool = True
    more: bool = False


class Status(msgspec.Struct, frozen=True):
    """One projection; `lag` is None where its checkpoints tell nothing of what it reads."""

    name: str
    version: int
    generation: int
    tables: list[str]
    streams: int
    parked: int  # streams
    letters: dict[str, int]  # by cause
    lag: ProjectionLag | None
    building: BuildingGeneration | None
    exact: bool = True  # else `streams` is what the planner expects, parked streams and letters are 20,001 at most
    waits: list[HandlerWait] = []  # handlers whose events wait, by process
    retry: dict[str, Any] = {}  # the handlers' policies, as the last projector that started has declared them


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
        self._waits = HandlerWaits(schema)

    def registered(self) -> list[Registered]:
        """Return all projections."""
        return ProjectionRegistry(self._schema).all(self._connection)

    def of(self, projection: Registered, *, exact: bool = False) -> Status:
        """Look at one; `exact` reads all of its checkpoints, letters and streams."""
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
                if streams <= _AGED:
                    following.append((item.stream, item.applied + 1))
        age = self._log.age(following) if following else None
        return ProjectionLag(events, streams, age or 0.0)

    def _lag_of_newest(self, generation: int, categories: set[str]) -> ProjectionLag:
        events, oldest, before, streams = 0, 0.0, None, set[str]()
        for _ in range(_PAGES):
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
    """Whether an event is of those that a projection reads, and is neither applied nor waiting in a parked stream."""
    if checkpoint is None:
        return event.stream.partition("-")[0] in categories
    return not checkpoint.parked and checkpoint.version < event.version
