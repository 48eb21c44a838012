"""The name of a projection's consumer group."""

from uuid import UUID

from eventkit.projection.define.projection import Projection

_SHORT = 8  # hexadecimal digits of an id


def group_of(projection: Projection, installation: UUID, incarnation: UUID) -> str:
    """Return the name of a projection's consumer group, one for each row's incarnation unless it `acts`."""
    name = f"{projection.name}.{short(installation)}"
    return name if projection.acts else f"{name}.{short(incarnation)}"


def short(id_: UUID) -> str:
    """Return the first digits of an id, as used in a group's name."""
    return id_.hex[:_SHORT]
