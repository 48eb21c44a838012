"""Classifies a stream's events by its checkpoint: duplicates, older events, a fork, and fresh events."""

from collections.abc import Iterable, Sequence

import msgspec

from eventkit.projection.batch import Arrival, Run, contiguous, tidy
from eventkit.storage.projections import Checkpoint


class Classified(msgspec.Struct):
    """A stream's events, classified by its checkpoint."""

    fresh: list[Arrival]  # above the checkpoint, in order of version, each version once
    duplicates: int
    older: list[Arrival] = msgspec.field(
        default_factory=list
    )  # below the checkpoint: duplicates by their version alone
    fork: Arrival | None = None  # an event whose version another event has
    after: list[Arrival] = msgspec.field(default_factory=list)  # events after the fork

    def forked(self) -> list[Arrival]:
        """Return the fork and the events after it."""
        return [self.fork, *self.after] if self.fork else []

    def fork_below(self) -> None:
        """Make the first older event the fork, and all other events the ones after it."""
        first, *others = self.older
        self.after = [*others, *self.fresh, *self.forked()]
        self.older, self.fresh, self.fork = [], [], first


def classify(checkpoint: Checkpoint, arrivals: Iterable[Arrival]) -> Classified:
    """Classify a stream's events by its checkpoint."""
    given = list(arrivals)
    ordered = tidy(Run(checkpoint.stream, given)).arrivals
    classified = Classified([], len(given) - len(ordered))
    for place, arrival in enumerate(ordered):
        if arrival.version < checkpoint.version:
            classified.older.append(arrival)
        elif arrival.version == checkpoint.version and arrival.uuid == checkpoint.event_id:
            classified.duplicates += 1
        elif arrival.version == (classified.fresh[-1].version if classified.fresh else checkpoint.version):
            classified.fork, classified.after = arrival, ordered[place + 1 :]
            break
        else:
            classified.fresh.append(arrival)
    return classified


def following(version: int, fresh: Sequence[Arrival]) -> list[Arrival]:
    """Return the events that follow a version without a gap."""
    return contiguous(fresh) if fresh and fresh[0].version == version + 1 else []
