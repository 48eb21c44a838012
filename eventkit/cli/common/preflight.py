"""The checks at the start of a long-running command: a wrong setting ends it with one sentence.

After the start the command waits for a database or a broker that goes away (`eventkit.worker.supervise`).
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
    """Open the transport that the settings name; refuse the in-process one with ConfigurationError and the advice."""
    transport = open_transport(settings.require_transport(), settings.transport_options)
    if Flag.ONE_PROCESS in transport.flags:
        raise ConfigurationError(f"this transport does not leave its process, so {advice}")
    return transport


def preflight_database(settings: Settings) -> None:
    """Connect once and check the tables; raise a StorageError if anything is wrong."""
    connect(settings.require_database(), name="check", schema=settings.schema).close()


def preflight_transport(transport: Transport, topics: Sequence[str] = ()) -> None:
    """Check the broker and log its name and version.

    Raises TransportUnavailable when there is no answer, ConfigurationError when its settings could lose events.
    """
    logger.info("%s", transport.check(topics))


def topics_of(settings: Settings) -> list[str]:
    """Return the topics of the store's events; raise a StorageError if the database cannot be used."""
    with connect(settings.require_database(), name="check", schema=settings.schema) as connection:
        return topics_in_use(connection, settings.schema)
