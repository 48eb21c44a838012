"""The topics that a projection reads: the given ones, those of its categories, or those of the store's streams."""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.domain.catalog import Catalog
from eventkit.projection.define import Projection
from eventkit.projection.run.connections import Connections
from eventkit.storage.events import known_topics as sent_topics
from eventkit.storage.events import stored_categories


class TopicChoice:
    """The topics of one projection's source: fixed ones, or those that its store has now."""

    def __init__(self, projection: Projection, given: Sequence[str], connections: Connections, schema: str) -> None:
        self._projection = projection
        self._given = given
        self._connections = connections
        self._schema = schema

    @property
    def are_fixed(self) -> bool:
        """Whether the topics do not depend on the store's categories."""
        return bool(self._given or self._projection.categories)

    def read(self) -> list[str]:
        """Return the topics; the store is asked unless they are fixed."""
        if known := known_topics(self._projection, self._given):
            return known
        with self._connections.store("projector topics") as connection:
            return topics_of_store(self._projection, connection, self._schema)


def known_topics(projection: Projection, given: Sequence[str]) -> list[str]:
    """Return the given topics, or those of the projection's categories; none if the store decides."""
    if given:
        return sorted(set(given))
    return projection.catalog.topics_of(projection.categories) if projection.categories else []


def topics_of_store(projection: Projection, store: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return the topics of a store's streams, for the sources that the projection has handlers for.

    A category has the source of its first event. It also has the sources of the topics that a relay has sent it to.
    """
    catalog = projection.catalog
    handled = {handler.source for handler in projection.handlers}
    found = list(stored_categories(store, schema))
    found = [
        (category, source) for category, source in found if source != catalog.name or catalog.is_published(category)
    ]
    topics = {_topic(catalog, source, category) for category, source in found if source in handled}
    others = {_topic(catalog, source, category) for category, _ in found for source in handled} - topics
    return sorted(topics | (others & sent_topics(store, schema) if others else set()))


def _topic(catalog: Catalog, source: str, category: str) -> str:
    return catalog.topic(category) if source == catalog.name else f"{source}.{category}"
