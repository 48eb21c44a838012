"""The last catch-up of a rebuild: brings the shadow to the versions of the live generation, under the swap's locks.

Both generations are locked, so neither of them advances meanwhile. The later events of a stream that the shadow has
parked become dead letters: the live generation has applied them, so no transport delivers them again. Called by `swap`
alone.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import waiting
from eventkit.projection.batch import spans
from eventkit.projection.counters import Counters
from eventkit.projection.rebuild.from_store import Feeder, chunks
from eventkit.storage.dead_letters import DeadLetters
from eventkit.storage.projections import Live, StreamLag, lagging_streams, parked_by


class SwapCatchUp:
    """The catch-up of one attempt to swap."""

    def __init__(self, feeder: Feeder, *, most: int, accept_lost: bool) -> None:
        """Read `most` events at once; `accept_lost` leaves out events that the store has lost."""
        self._applier = feeder.applier
        self._read = feeder.parts
        self._versions = feeder.versions if accept_lost else None
        self._most = most
        self._new = feeder.applier.rebuild.generation

    def run(self, connection: psycopg.Connection[Any], live: Live) -> int:
        """Apply the events that the live generation has and the shadow lacks; return how many."""
        done = Counters()
        behind = [lag for lag in self._lagging(connection, live) if self._applier.projection.reads(lag.stream)]
        behind = self._without_lost(behind)
        for runs in (part for chunk in chunks(behind, most=self._most) for part in self._read(chunk)):
            advanced = self._applier.checkpoints.advance(connection, self._new, spans(runs))
            if len(advanced) < len(runs):
                name = self._applier.projection.name
                raise RebuildRefused(f"the rebuild of {name!r} is written by another process")
            self._applier.fold([arrival for run in runs for arrival in run.arrivals], done)
        self._keep_behind(connection, [lag for lag in behind if lag.parked])
        return done.applied

    def _lagging(self, connection: psycopg.Connection[Any], live: Live) -> list[StreamLag]:
        return lagging_streams(connection, self._applier.schema, new=self._new, live=live.generation)

    def _without_lost(self, behind: list[StreamLag]) -> list[StreamLag]:
        """Leave out events that the live read model has and the store has lost, in a restore or a failover."""
        if self._versions is None or not behind:
            return behind
        known = self._versions([lag.stream for lag in behind])
        return [lag._replace(version=min(lag.version, known.get(lag.stream, 0))) for lag in behind]

    def _keep_behind(self, connection: psycopg.Connection[Any], parked: Sequence[StreamLag]) -> None:
        """Keep the later events of streams that the shadow has parked as dead letters."""
        if not parked:
            return
        letters = DeadLetters(self._applier.schema)
        by = parked_by(self._applier.projection.name, self._new)
        kept = letters.reach(connection, by, [lag.stream for lag in parked])
        lacking = (lag._replace(applied=max(lag.applied, kept.get(lag.stream, 0)), parked=False) for lag in parked)
        for runs in (part for chunk in chunks(lacking, most=self._most) for part in self._read(chunk)):
            for run in runs:
                letters.keep(connection, by, run.stream, [waiting(arrival) for arrival in run.arrivals])
