"""What a broker that keeps no history may not have brought: from the store, at each start and each hour.

The group has its place at the broker before this begins, so what is published from then on waits there, and everything
published before is in the store by now. What comes both ways is a duplicate, which the checkpoints know. So the history
of a new projection is there, and so is what was sent while a group's queues were gone, or while the database was one
that has been restored since. One process of the projection does it, under the lease that a reader of the store takes.

    subscribe -> read the store from the position that is saved up to where it is now -> follow the group
"""

import logging
from collections.abc import Callable

from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import StoreSource

logger = logging.getLogger("eventkit.projection")

EVERY = 3_600.0  # seconds


class Backfill:
    """One projection's way to a group."""

    def __init__(self, projector: Projector, source: StoreSource, group: str) -> None:
        """Read with `source`, which nothing has read from yet."""
        self._projector = projector
        self._source = source
        self._group = group

    def join(self, horizon: int, goes_on: Callable[[], bool]) -> None:
        """Apply the store's events up to a position, unless `goes_on` says no before the end."""
        name, position = self._projector.projection.name, self._source.position
        if not position:
            logger.info(
                "%s takes its history from the store, up to position %d, then joins %s", name, horizon, self._group
            )
        applied = self._projector.counters.applied
        idle = False

        def has_more() -> bool:
            return not self._done(horizon, idle=idle) and goes_on()

        while not self._projector.stop.is_set() and has_more():
            # crash point: read, not saved -> read again, skipped as duplicates
            idle = not self._projector.step(self._source)
        applied = self._projector.counters.applied - applied
        if position and applied:
            logger.info("%s has taken %d events above position %d from the store", name, applied, position)

    def _done(self, horizon: int, *, idle: bool) -> bool:
        return idle and self._source.seen >= horizon
