"""A stream's events sorted out by its checkpoint: duplicates, older ones, a fork, fresh ones, and those that follow."""

from collections.abc import Iterable, Sequence

import msgspec

from eventkit.projection.batch import Arrival, Run, contiguous, tidy
from eventkit.storage.projections import Checkpoint


class Classified(msgspec.Struct):
    """A stream's events as its checkpoint sees them."""

    fresh: list[Arrival]  # above the checkpoint, in order of version, each version once
    duplicates: int
    older: list[Arrival] = msgspec.field(
        default_factory=list
    )  # below the checkpoint: duplicates by their version alone
    fork: Arrival | None = None  # an event whose place is taken by another
    after: list[Arrival] = msgspec.field(default_factory=list)  # what comes after the fork

    def forked(self) -> list[Arrival]:
        """Return the fork and what comes after it."""
        return [self.fork, *self.after] if self.fork else []

    def fork_below(self) -> None:
        """Take the first of the older events for a fork: all the others come after it."""
        first, *others = self.older
        self.after = [*others, *self.fresh, *self.forked()]
        self.older, self.fresh, self.fork = [], [], first


def classify(checkpoint: Checkpoint, arrivals: Iterable[Arrival]) -> Classified:
    """Sort a stream's events out against its checkpoint."""
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
    """Return the events that follow a version without a hole."""
    return contiguous(fresh) if fresh and fresh[0].version == version + 1 else []


def is_next(checkpoint: Checkpoint, failing: Arrival) -> bool:
    """Whether an event is still the next of its stream: only then may it be parked."""
    return checkpoint.version == failing.version - 1
