"""A projection's history where its broker keeps none: from the store, once, before the projection follows its group.

The group has its place at the broker before this begins, so what is published from then on waits there, and everything
published before is in the store by now. What comes both ways is a duplicate, which the checkpoints know. One process of
the projection does it, under the lease that a reader of the store takes; the others wait for it.

    subscribe -> read the store up to where it is then -> remember that the group has joined -> follow the group
"""

import logging
from collections.abc import Callable

from eventkit.projection.projector import Projector
from eventkit.projection.sources import StoreSource

logger = logging.getLogger("eventkit.projection")


class Joining:
    """One projection's first steps in one group."""

    def __init__(self, projector: Projector, source: StoreSource, group: str) -> None:
        """Read with `source`, which nothing has read from yet."""
        self._projector = projector
        self._source = source
        self._group = group

    def join(self, horizon: int, goes_on: Callable[[], bool]) -> None:
        """Apply the store's events up to a position, and remember it, unless `goes_on` says no before the end."""
        name = self._projector.projection.name
        logger.info("%s takes its history from the store, up to position %d, then joins %s", name, horizon, self._group)
        idle = False

        def has_more() -> bool:
            return not self._done(horizon, idle=idle) and goes_on()

        while not self._projector.stop.is_set() and has_more():
            idle = not self._projector.step(self._source)
        if self._done(horizon, idle=idle):
            # crash point: read whole, not remembered -> read again, skipped as duplicates
            self._projector.joined(self._group)
            logger.info("%s has joined %s", name, self._group)

    def _done(self, horizon: int, *, idle: bool) -> bool:
        return idle and self._source.seen >= horizon
