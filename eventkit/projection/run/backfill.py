"""Read from the store the events that a broker without history may lack, at each start and each hour.

The group exists at the broker before the backfill begins. Later events wait in the group, and earlier events are in the
store. An event that comes both ways is a duplicate, and the checkpoints skip it. So a new projection gets its history.
A projection also gets the events that were sent while the group's queues were gone, or before its database was
restored. One process of the projection does it, under the lease of a reader of the store.

    subscribe -> read the store from the saved position to its present end -> follow the group
"""

import logging
from collections.abc import Callable

from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import StoreSource

logger = logging.getLogger("eventkit.projection")

BACKFILL_INTERVAL = 3_600.0  # seconds


class Backfill:
    """The backfill of one projection before it reads its group."""

    def __init__(self, projector: Projector, source: StoreSource, group: str) -> None:
        """Read from `source`, which is unread so far."""
        self._projector = projector
        self._source = source
        self._group = group

    def run(self, horizon: int, keep_running: Callable[[], bool]) -> None:
        """Apply the store's events up to the position `horizon`; end earlier if `keep_running` returns False."""
        name, position = self._projector.projection.name, self._source.position
        if not position:
            logger.info(
                "%s takes its history from the store, up to position %d, then joins %s", name, horizon, self._group
            )
        applied = self._projector.counters.applied
        idle = False

        def has_more() -> bool:
            return not self._done(horizon, idle=idle) and keep_running()

        while not self._projector.stop.is_set() and has_more():
            # crash point: read, not saved -> read again, skipped as duplicates
            idle = not self._projector.step(self._source)
        applied = self._projector.counters.applied - applied
        if position and applied:
            logger.info("%s has taken %d events above position %d from the store", name, applied, position)

    def _done(self, horizon: int, *, idle: bool) -> bool:
        return idle and self._source.seen >= horizon
