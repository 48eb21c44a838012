"""The names of consumer groups, and the removal of those that nobody needs any more.

A read model's group bears the installation and the projection's incarnation: two databases never share one, and a read
model that begins anew begins at the first event. What acts must not read again, so its group bears the installation
alone and outlives its projection's row.
"""

import logging
from typing import Any

import psycopg

from eventkit.errors import TransportError
from eventkit.storage.projections import ConsumerGroup, ConsumerGroups
from eventkit.transports.base import Transport

logger = logging.getLogger("eventkit.projection")

_SHORT = 8  # hexadecimal digits of an id


def broker_of(url: str) -> str:
    """Return the kind of broker that a transport URL names."""
    return url.partition("://")[0].lower()


def remove_abandoned(
    connection: psycopg.Connection[Any], schema: str, transport: Transport, broker: str
) -> list[ConsumerGroup]:
    """Remove the groups at a broker that nobody needs any more, on an autocommit connection; return those that stay."""
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
