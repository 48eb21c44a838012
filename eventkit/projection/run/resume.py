"""The place at which a projector begins to read each assigned shard, from the projection's own database.

The broker's committed offsets are not used: they are ahead of a restored database, and expire while a group is stopped.
A saved place may be missing in the topic, if the topic was created again, is at another broker, or has expired beyond
it. A read model then begins at the first message, and its checkpoints skip duplicates. Handlers that act must not act
twice, and their inbox may have been pruned. So the operator has to choose where they begin.

The first message is not the first event, if the topic's retention has deleted earlier ones. A stream whose events are
all among those would never be noticed. So the projector takes its history from the store before it begins there.
"""

import logging
from collections.abc import Mapping, Sequence
from enum import Enum

from eventkit.errors import PlaceGone, ProjectionError
from eventkit.projection.apply import BatchApplier
from eventkit.storage.projections import Place, Saved
from eventkit.transports.base import Range

logger = logging.getLogger("eventkit.projection")


class Begin(Enum):
    """The operator's choice for a saved place that is gone."""

    REFUSE = "refuse"
    AT_FIRST = "from the beginning"
    NOW = "from now"


Begun = Mapping[tuple[str, int], Place]


class HistoryGone(ProjectionError):
    """Messages that the projection may lack are gone at the broker; `begins` has the first messages of their shards."""

    def __init__(self, message: str, begins: Begun) -> None:
        super().__init__(message)
        self.begins = begins


class ResumePoints:
    """The resume points of one projector; the `Resume` of its subscription.

    `completed` are places whose earlier events the projector has taken from the store.
    """

    def __init__(self, applier: BatchApplier, *, begin: Begin = Begin.REFUSE, completed: Begun | None = None) -> None:
        """Query on the connection of `applier`, between its transactions."""
        self._applier = applier
        self._begin = begin
        self._completed = completed or {}

    def __call__(self, ranges: Sequence[Range]) -> dict[tuple[str, int], Place]:
        """Return the place at which each shard begins, and save it; raise HistoryGone if the store is to be read."""
        name = self._applier.projection.name
        with self._applier.workspace.transaction() as connection:
            self._applier.fence(connection)
            known = self._applier.places.known(connection, name, sorted({each.topic for each in ranges}))
            starts = {each.key: self._start(each, known.get(each.key)) for each in ranges}
            self._check_history(ranges, known, starts)
            begun: list[Saved] = [(each.topic, each.shard, each.topic_id, starts[each.key]) for each in ranges]
            self._applier.places.begin(connection, name, begun)
        return starts

    def _start(self, given: Range, known: tuple[str, Place] | None) -> Place:
        if known is not None and _has(given, *known):
            return known[1]
        if self._begin is Begin.NOW:
            return given.high
        if known is not None and self._applier.projection.acts and self._begin is Begin.REFUSE:
            raise PlaceGone(_refusal(self._applier.projection.name, given, *known))
        return given.low

    def _check_history(
        self, ranges: Sequence[Range], known: Mapping[tuple[str, int], tuple[str, Place]], starts: Begun
    ) -> None:
        """Raise HistoryGone if a shard begins behind messages that the topic does not have any more."""
        if self._begin is Begin.NOW or self._applier.projection.answers:
            return
        gone = [each for each in ranges if self._lacks_history(each, known.get(each.key))]
        if gone:
            shown = "; ".join(_described(each, known.get(each.key)) for each in gone)
            raise HistoryGone(
                f"{self._applier.projection.name} takes from the store the events that the broker no longer has, and "
                f"then reads on: {shown}",
                {each.key: starts[each.key] for each in gone},
            )

    def _lacks_history(self, given: Range, known: tuple[str, Place] | None) -> bool:
        if given.low <= self._completed.get(given.key, ()):
            return False
        return any(given.low) if known is None else not _has(given, *known)


def _has(given: Range, topic_id: str, place: Place) -> bool:
    return topic_id == given.topic_id and given.low <= place <= given.high


def _described(given: Range, known: tuple[str, Place] | None) -> str:
    if known is None:
        return f"{given} begins at {_text(given.low)}"
    return f"{given}, applied up to {_text(known[1])}, has {_text(given.low)} to {_text(given.high)}"


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
