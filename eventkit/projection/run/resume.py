"""Where a projector begins to read each shard that it is given: where this database says that it is.

The broker's record of the group is not asked. It is ahead of a database that was restored, and gone where the group was
stopped for too long. A place that the topic does not have any more (it was made anew, is at another broker, or has been
emptied beyond it) is of no use: a read model then begins at the first message, for its checkpoints know what it has.
What acts must not do again what it did, and its inbox may have been pruned: an operator has to say where it begins.
"""

import logging
from collections.abc import Sequence
from enum import Enum

from eventkit.errors import PlaceGone
from eventkit.projection.apply import BatchApplier
from eventkit.storage.projections import BrokerPlaces, Place, Saved
from eventkit.transports.base import Range

logger = logging.getLogger("eventkit.projection")


class Begin(Enum):
    """What an operator says about a place that is gone."""

    REFUSE = "refuse"
    AT_FIRST = "from the beginning"
    NOW = "from now"


class ResumePoints:
    """One projector's; a `Resume` of its subscription."""

    def __init__(self, applying: BatchApplier, *, schema: str, begin: Begin = Begin.REFUSE) -> None:
        """Ask on the connection that `applying` works on, between its transactions."""
        self._applying = applying
        self._places = BrokerPlaces(schema)
        self._begin = begin

    def __call__(self, ranges: Sequence[Range]) -> dict[tuple[str, int], Place]:
        """Return where each shard begins, and remember it."""
        name = self._applying.projection.name
        with self._applying.workspace.transaction() as connection:
            self._applying.fence(connection)
            known = self._places.known(connection, name, sorted({each.topic for each in ranges}))
            starts = {each.key: self._start(each, known.get(each.key)) for each in ranges}
            begun: list[Saved] = [(each.topic, each.shard, each.topic_id, starts[each.key]) for each in ranges]
            self._places.begin(connection, name, begun)
        return starts

    def _start(self, given: Range, known: tuple[str, Place] | None) -> Place:
        if known is not None:
            topic_id, place = known
            if topic_id == given.topic_id and given.low <= place <= given.high:
                return place
        if self._begin is Begin.NOW:
            return given.high
        if known is not None and self._applying.projection.acts and self._begin is Begin.REFUSE:
            raise PlaceGone(_refusal(self._applying.projection.name, given, *known))
        if known is not None:
            logger.info("%s begins %s at its first message: %s", self._applying.projection.name, given, _gone(given))
        return given.low


def _gone(given: Range) -> str:
    return f"the place that it had is not in the topic, which has {_text(given.low)} to {_text(given.high)}"


def _refusal(name: str, given: Range, topic_id: str, place: Place) -> str:
    why = "the topic is another one now" if topic_id != given.topic_id else _gone(given)
    return (
        f"{name!r} has taken effect of {given} up to {_text(place)}, and {why}: read again, it may act twice on what "
        "its inbox has forgotten. Start it once with --from-beginning, or with --from-now, which passes over what is "
        "there"
    )


def _text(place: Place) -> str:
    return "-".join(map(str, place))
