"""The messages that a projection, a set of handlers or a responder receives and replies, by its declaration."""

from collections.abc import Sequence
from types import NoneType
from typing import NamedTuple, get_args, get_type_hints

from eventkit.domain.catalog import Catalog, EventType
from eventkit.errors import CatalogError
from eventkit.projection.define import Projection


class Received(NamedTuple):
    """A type that a receiver takes, the topics it comes from (none if any), and the types of its replies."""

    kind: EventType
    topics: tuple[str, ...]
    replies: tuple[EventType, ...]


class Receiver(NamedTuple):
    """A projection, a set of handlers, a process manager or a responder."""

    name: str
    kind: str
    received: tuple[Received, ...]

    @property
    def is_responder(self) -> bool:
        """Whether it answers the messages that it takes."""
        return self.kind == "responder"


def receivers_of(catalog: Catalog, projections: Sequence[Projection]) -> list[Receiver]:
    """Return the receivers among a service's projections; raise CatalogError for one of another catalog."""
    for projection in projections:
        if projection.catalog.name != catalog.name:
            raise CatalogError(
                f"{projection.kind} {projection.name!r} reads by the catalog {projection.catalog.name!r}, not by "
                f"{catalog.name!r}: describe it with its own catalog"
            )
    return [_receiver(projection) for projection in projections]


def _receiver(projection: Projection) -> Receiver:
    catalog = projection.catalog
    kinds = {(kind.source, kind.name): kind for kind in catalog.types}
    received = []
    for handler in sorted(projection.handlers, key=lambda handler: handler.kind):
        kind = kinds[handler.kind]
        returned = _returned(handler.user) if projection.answers else ()
        replies = tuple(one for one in catalog.types if one.cls in returned)
        received.append(Received(kind, _topics(projection, kind), replies))
    return Receiver(projection.name, projection.kind, tuple(received))


def _topics(projection: Projection, kind: EventType) -> tuple[str, ...]:
    """Return the topics of a type: that of its category, or those of the projection's categories."""
    catalog = projection.catalog
    topic = catalog.topic_of(kind)
    if topic is not None:
        return (topic,)
    if kind.source != catalog.name or kind.category is not None:
        return ()
    return tuple(sorted({catalog.topic(category) for category in projection.categories}))


def _returned(function: object) -> tuple[type, ...]:
    """Return the classes that a function's annotation says it returns."""
    try:
        hint = get_type_hints(function).get("return")
    except (NameError, TypeError):  # a name that only a type checker imports
        return ()
    return tuple(part for part in (get_args(hint) or (hint,)) if isinstance(part, type) and part is not NoneType)
