"""Checks a projection's surroundings once, before its first term: the store, the topics, the groups at the broker."""

import logging
from contextlib import ExitStack

from eventkit.config import Settings
from eventkit.errors import DatabaseUnavailable
from eventkit.projection.define import Projection
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.consumer_groups import broker_of, remove_abandoned
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.source_options import SourceOptions
from eventkit.projection.run.topics import TopicChoice
from eventkit.storage.events import refuse_unknown_types
from eventkit.storage.retention import pruned_categories

logger = logging.getLogger("eventkit.projection")


class ProjectorPreflight:
    """The checks of one projection; each raises the error of the first part that is wrong or missing."""

    def __init__(
        self, projection: Projection, settings: Settings, options: SourceOptions, connections: Connections
    ) -> None:
        self._projection = projection
        self._settings = settings
        self._options = options
        self._connections = connections

    def run(self, projector: Projector, topics: TopicChoice) -> None:
        """Check everything, and register the projection; a store in another database may be away."""
        self._check_store()
        if not self._options.from_store:
            self._check_topics(topics)
        projector.register()
        if not self._options.from_store:
            self._remove_abandoned()
        self._warn_of_pruned(projector)

    def _check_store(self) -> None:
        try:
            with self._connections.store("projector reader") as store:
                projection = self._projection
                refuse_unknown_types(store, self._settings.schema, projection.catalog, categories=projection.categories)
        except DatabaseUnavailable as error:
            if self._options.from_store:
                raise
            logger.warning("projector %s cannot repair gaps until the store is there: %s", self._projection.name, error)

    def _check_topics(self, topics: TopicChoice) -> None:
        with ExitStack() as stack:
            transport, found = self._connections.transport(stack), topics.read()
            transport.check(found)
            transport.partitions(found)

    def _remove_abandoned(self) -> None:
        """Remove the groups of deleted projections at the broker."""
        broker = broker_of(self._settings.require_transport())
        with ExitStack() as stack:
            transport = self._connections.transport(stack)
            with self._connections.read_models("projector groups", autocommit=True) as connection:
                remove_abandoned(connection, self._settings.schema, transport, broker)

    def _warn_of_pruned(self, projector: Projector) -> None:
        """Warn if a new read model will lack pruned events."""
        if self._options.store_url or not projector.is_new():
            return
        with self._connections.store("projector topics") as connection:
            counts = pruned_categories(connection, self._settings.schema)
        pruned = {category: count for category, count in counts.items() if self._projection.reads(category)}
        if pruned:
            logger.warning(
                "projector %s begins on a store from which events were pruned (%s): its read model will lack them, "
                "unless the transport still has them",
                self._projection.name,
                ", ".join(f"{count:,} of {category}" for category, count in pruned.items()),
            )
