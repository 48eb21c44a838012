"""Compares the digest of every checkpoint of a projection with the store's events.

A difference means that the read model has events that the store does not have. The store was restored, it failed over
to a lagging standby, or another producer published on its topic. A rebuild corrects the read model. Checkpoints are
read in stream order, page by page, each before the store: an applied event was in the store before.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.projection.apply import differs
from eventkit.storage.db import database_errors
from eventkit.storage.events import Question, ask
from eventkit.storage.projections import Checkpoint, Checkpoints, Registered

_PAGE = 5_000  # checkpoints
_MAX_EVENTS = 100_000  # in one statement, unless a single stream has more
_MAX_DIFFERENCES = 100


class Difference(msgspec.Struct, frozen=True):
    """A stream whose events in the read model differ from those in the store."""

    stream: str
    version: int
    difference: str


class Verified(msgspec.Struct):
    """The numbers of checkpoints with the store's digest, with another digest, and without a comparison.

    Not compared are streams that are not in this store, that were pruned beyond the checkpoint, or whose first events
    the projection has not seen. `differences` has the first hundred.
    """

    projection: str
    same: int = 0
    different: int = 0
    not_compared: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)


class CheckpointVerification:
    """Compares checkpoints, over autocommit connections to the read models' database and to the store."""

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, store: psycopg.Connection[Any] | None = None
    ) -> None:
        """Use `connection` for the store, too, unless `store` is given."""
        self._connection = connection
        self._store = store or connection
        self._schema = f'"{schema}"'
        self._checkpoints = Checkpoints(schema)

    def events(self, projection: Registered) -> int:
        """Return the number of events that the checkpoints cover."""
        return self._checkpoints.events(self._connection, projection.generation)

    def verify(self, projection: Registered, report: Callable[[int], None]) -> Verified:
        """Compare all checkpoints; `report` is called with the number of compared events after each statement."""
        found = Verified(projection.name)
        done = 0
        for part in self._parts(projection.generation):
            self._compare(part, found)
            done += sum(checkpoint.version for checkpoint in part)
            report(done)
        return found

    def _compare(self, part: Sequence[Checkpoint], found: Verified) -> None:
        with database_errors():
            answers = ask(self._store, self._schema, [Question(each.stream, each.version) for each in part])
        for checkpoint, stored in zip(part, answers, strict=True):
            if difference := differs(checkpoint, stored):
                found.different += 1
                if len(found.differences) < _MAX_DIFFERENCES:
                    found.differences.append(Difference(checkpoint.stream, checkpoint.version, difference))
            elif checkpoint.digest is None or stored.digest is None or not stored.highest:
                found.not_compared += 1
            else:
                found.same += 1

    def _parts(self, generation: int) -> Iterator[list[Checkpoint]]:
        """Yield checkpoints in parts that one statement can compare in a short time."""
        after = ""
        while page := self._checkpoints.page(self._connection, generation, after, _PAGE):
            after = page[-1].stream
            part: list[Checkpoint] = []
            events = 0
            for checkpoint in page:
                if checkpoint.version:  # at 0 the stream is parked, and no event is applied
                    part.append(checkpoint)
                    events += checkpoint.version
                if events >= _MAX_EVENTS:
                    yield part
                    part, events = [], 0
            if part:
                yield part
