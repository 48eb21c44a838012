"""The names of consumer groups, and the removal of abandoned groups.

The name of a read model's group has the installation and the projection's incarnation. So two databases never share a
group, and a new read model begins at the first event. Handlers that act must not act twice on an event. Their group
has the name of the installation alone, and outlives the projection's row.
"""

import logging
from typing import Any

import psycopg

from eventkit.errors import TransportError
from eventkit.storage.projections import ConsumerGroup, ConsumerGroups
from eventkit.transports.base import Transport

logger = logging.getLogger("eventkit.projection")


def broker_of(url: str) -> str:
    """Return the kind of broker that a transport URL names."""
    return url.partition("://")[0].lower()


def remove_abandoned(
    connection: psycopg.Connection[Any], schema: str, transport: Transport, broker: str
) -> list[ConsumerGroup]:
    """Remove the abandoned groups at a broker; return the groups that could not be removed.

    The connection is an autocommit connection to the read models' database.
    """
    groups, left = ConsumerGroups(schema), []
    for group in groups.all(connection):
        if not group.abandoned or group.broker != broker:
            continue
        try:
            transport.forget(group.topics, group.name)
        except TransportError as error:
            logger.warning("group %s stays at the broker for now: %s", group.name, error)
            left.append(group)
        else:
            # crash point: removed at the broker, not here -> removed again, which does nothing
            groups.removed(connection, group)
            logger.info("group %s of %s was removed at the broker", group.name, group.projection)
    return left
