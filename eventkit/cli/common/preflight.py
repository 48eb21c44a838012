"""What a long-running command does first: reach what it needs, so that a wrong setting ends it with one sentence.

Later, a database or a broker that goes away is waited for (`eventkit.worker.supervise`).
"""

import logging
from collections.abc import Sequence

from eventkit.config import Settings
from eventkit.errors import ConfigurationError
from eventkit.storage.db import connect
from eventkit.storage.events import topics_in_use
from eventkit.transports import Flag, Transport, open_transport

logger = logging.getLogger("eventkit")


def open_broker(settings: Settings, advice: str) -> Transport:
    """Open the transport that the settings name; refuse one that never leaves its process, with the advice given."""
    transport = open_transport(settings.require_transport(), settings.transport_options)
    if Flag.ONE_PROCESS in transport.flags:
        raise ConfigurationError(f"this transport does not leave its process, so {advice}")
    return transport


def reach_database(settings: Settings) -> None:
    """Connect once and check the tables; raise what is wrong."""
    connect(settings.require_database(), name="check", schema=settings.schema).close()


def reach_transport(transport: Transport, topics: Sequence[str] = ()) -> None:
    """Ask the broker who it is; TransportUnavailable when nobody answers, ConfigurationError where it loses events."""
    logger.info("%s", transport.check(topics))


def topics_of(settings: Settings) -> list[str]:
    """Return the topics that the store's events go to; raise what is wrong with the database."""
    with connect(settings.require_database(), name="check", schema=settings.schema) as connection:
        return topics_in_use(connection, settings.schema)
