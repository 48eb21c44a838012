"""Which topics a projection reads: those given, those of its categories, or those that the store's streams go to."""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.projection.projection import Projection
from eventkit.storage.categories import categories


def known_topics(projection: Projection, given: Sequence[str]) -> list[str]:
    """Return the topics given, or those of the projection's categories; none where only the store knows."""
    if given:
        return sorted(set(given))
    return projection.catalog.topics_of(projection.categories) if projection.categories else []


def topics_of_store(projection: Projection, store: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return the topics to which a store's streams go, of the sources that the projection has handlers for."""
    catalog = projection.catalog
    handled = {handler.source for handler in projection.handlers}
    return sorted(
        catalog.topic(category) if source == catalog.name else f"{source}.{category}"
        for category, source in categories(store, schema)
        if source in handled
    )
