"""The event store as the source of the one process of a projection that holds the lease of its reader.

Other processes of the projection wait for the lease. The reader continues at the position that the last holder saved.
"""

import logging
import os
import socket
from contextlib import ExitStack

from eventkit.config import Settings
from eventkit.projection.define import Projection
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import StoreSource
from eventkit.storage.outbox import READING, EventLog, Lease

logger = logging.getLogger("eventkit.projection")


class LeasedStore:
    """Opens the store for one projection."""

    def __init__(self, projection: Projection, settings: Settings, connections: Connections) -> None:
        self._projection = projection
        self._schema = settings.schema
        self._connections = connections

    def open(self, projector: Projector, stack: ExitStack) -> tuple[Lease, StoreSource] | None:
        """Wait for the lease, and return it with an unread source; None if stopped before.

        `stack` releases the lease and closes the connections.
        """
        lease = self._lease(stack)
        if not lease.acquire(projector.stop.is_set):
            return None
        position = projector.start(known=True)  # the previous holder of the lease has advanced it
        reader = self._connections.store("projector reader", options=READING)
        stack.callback(reader.close)
        drawn = EventLog(reader, self._schema).drawn()
        if drawn is not None and drawn < position:
            logger.warning(
                "%s has read the store up to position %d, and the store has drawn %d: it was restored, or lost commits "
                "in a failover. All of it is read again, and applied events are skipped",
                self._projection.name, position, drawn,
            )  # fmt: skip
            projector.reset_position()
            position = 0
        return lease, StoreSource(reader, self._schema, after=position, limit=self._projection.received)

    def _lease(self, stack: ExitStack) -> Lease:
        connection = self._connections.read_models("projector lease", autocommit=True)
        owner = f"{socket.gethostname()}:{os.getpid()}"
        lease = Lease(connection, self._schema, name=f"projector:{self._projection.name}", owner=owner)
        stack.callback(lease.release)
        return lease
