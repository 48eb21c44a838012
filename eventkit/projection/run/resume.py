"""The place at which a projector begins to read each assigned shard, from the projection's own database.

The broker's committed offsets are not used: they are ahead of a restored database, and expire while a group is stopped.
A saved place may be missing in the topic, if the topic was created again, is at another broker, or has expired beyond
it. A read model then begins at the first message, and its checkpoints skip duplicates. Handlers that act must not act
twice, and their inbox may have been pruned. So the operator has to choose where they begin.
"""

import logging
from collections.abc import Sequence
from enum import Enum

from eventkit.errors import PlaceGone
from eventkit.projection.apply import BatchApplier
from eventkit.storage.projections import Place, Saved
from eventkit.transports.base import Range

logger = logging.getLogger("eventkit.projection")


class Begin(Enum):
    """The operator's choice for a saved place that is gone."""

    REFUSE = "refuse"
    AT_FIRST = "from the beginning"
    NOW = "from now"


class ResumePoints:
    """The resume points of one projector; the `Resume` of its subscription."""

    def __init__(self, applier: BatchApplier, *, begin: Begin = Begin.REFUSE) -> None:
        """Query on the connection of `applier`, between its transactions."""
        self._applier = applier
        self._begin = begin

    def __call__(self, ranges: Sequence[Range]) -> dict[tuple[str, int], Place]:
        """Return the place at which each shard begins, and save it."""
        name = self._applier.projection.name
        with self._applier.workspace.transaction() as connection:
            self._applier.fence(connection)
            known = self._applier.places.known(connection, name, sorted({each.topic for each in ranges}))
            starts = {each.key: self._start(each, known.get(each.key)) for each in ranges}
            begun: list[Saved] = [(each.topic, each.shard, each.topic_id, starts[each.key]) for each in ranges]
            self._applier.places.begin(connection, name, begun)
        return starts

    def _start(self, given: Range, known: tuple[str, Place] | None) -> Place:
        if known is not None:
            topic_id, place = known
            if topic_id == given.topic_id and given.low <= place <= given.high:
                return place
        if self._begin is Begin.NOW:
            return given.high
        if known is not None and self._applier.projection.acts and self._begin is Begin.REFUSE:
            raise PlaceGone(_refusal(self._applier.projection.name, given, *known))
        if known is not None:
            logger.info("%s begins %s at its first message: %s", self._applier.projection.name, given, _gone(given))
        return given.low


def _gone(given: Range) -> str:
    return f"the saved place is not in the topic, which has {_text(given.low)} to {_text(given.high)}"


def _refusal(name: str, given: Range, topic_id: str, place: Place) -> str:
    why = "the topic is another one now" if topic_id != given.topic_id else _gone(given)
    return (
        f"{name!r} has applied {given} up to {_text(place)}, and {why}: read again, it may act twice on messages that "
        "were pruned from its inbox. Start it once with --from-beginning, or with --from-now, which skips all messages "
        "that are there"
    )


def _text(place: Place) -> str:
    return "-".join(map(str, place))
