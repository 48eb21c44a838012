"""Read from the store the events that a broker without history may lack, at each start and each hour.

The group exists at the broker before the backfill begins. Later events wait in the group, and earlier events are in the
store. An event that comes both ways is a duplicate, and the checkpoints skip it. So a new projection gets its history.
A projection also gets the events that were sent while the group's queues were gone, or before its database was
restored. One process of the projection does it, under the lease of a reader of the store.

    subscribe -> read the store from the saved position to its present end -> follow the group
"""

import logging
from contextlib import ExitStack

from eventkit.errors import DatabaseUnavailable
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.leased_store import LeasedStore
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import StoreSource
from eventkit.storage.outbox import EventLog, Lease

logger = logging.getLogger("eventkit.projection")

BACKFILL_INTERVAL = 3_600.0  # seconds


class Backfill:
    """The backfills of one projection, each before it reads its group."""

    def __init__(self, store: LeasedStore, connections: Connections, schema: str, *, remote: bool) -> None:
        """Read from `store`; a `remote` one is in another database than the read models."""
        self._store = store
        self._connections = connections
        self._schema = schema
        self._remote = remote

    def run(self, projector: Projector, group: str, *, needed: bool = False) -> None:
        """Apply from the store the events that the group may lack.

        A store in another database may be away, unless it was never read or is `needed`.
        """
        position = projector.register()
        try:
            with self._connections.store("projector topics") as connection:
                horizon = EventLog(connection, self._schema).horizon().position
        except DatabaseUnavailable as error:
            if needed or not position or not self._remote:
                raise
            logger.warning(
                "projector %s reads no history until the store is available: %s", projector.projection.name, error
            )
            return
        if horizon == position:
            return
        with ExitStack() as stack:
            leased = self._store.open(projector, stack)
            if leased is not None:
                _apply(projector, *leased, group, horizon)


def _apply(projector: Projector, lease: Lease, source: StoreSource, group: str, horizon: int) -> None:
    """Apply the store's events up to the position `horizon`; end earlier if the projector is stopped."""
    name, position = projector.projection.name, source.position
    if not position:
        logger.info("%s takes its history from the store, up to position %d, then joins %s", name, horizon, group)
    applied = projector.counters.applied
    idle = False
    while not projector.stop.is_set() and not (idle and source.seen >= horizon):
        lease.check()
        # crash point: read, not saved -> read again, skipped as duplicates
        idle = not projector.step(source)
    applied = projector.counters.applied - applied
    if position and applied:
        logger.info("%s has taken %d events above position %d from the store", name, applied, position)
