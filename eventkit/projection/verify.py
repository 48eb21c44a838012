"""Compares the digest of every checkpoint of a projection with the store: the applied events are those that it has.

A difference means that the read model holds events that the store does not have: the store was restored, failed over to
a standby that lagged, or somebody else published on its topic. A rebuild makes it right. Checkpoints are read in order
of stream, page by page, before the store is: an event that is applied was in the store.
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
_EVENTS = 100_000  # that one statement sums up, unless a single stream has more
_SHOWN = 100  # differences that are kept


class Difference(msgspec.Struct, frozen=True):
    """A stream of which the read model holds other events than the store."""

    stream: str
    version: int
    difference: str


class Verified(msgspec.Struct):
    """How many checkpoints have the store's digest, how many another, and how many could not be compared.

    Not compared are streams that this store does not have, that were pruned beyond the checkpoint, or of which the
    projection has not seen all events. `differences` are the first hundred.
    """

    projection: str
    same: int = 0
    different: int = 0
    not_compared: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)


class CheckpointVerification:
    """Compares, over autocommit connections to the read models' database and to the store."""

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, store: psycopg.Connection[Any] | None = None
    ) -> None:
        """Look for the store in the same database unless it is given."""
        self._connection = connection
        self._store = store or connection
        self._schema = f'"{schema}"'
        self._checkpoints = Checkpoints(schema)

    def events(self, projection: Registered) -> int:
        """Return how many events the checkpoints stand for."""
        return self._checkpoints.events(self._connection, projection.generation)

    def verify(self, projection: Registered, tell: Callable[[int], None]) -> Verified:
        """Compare all checkpoints; tell how many events are compared, statement by statement."""
        found = Verified(projection.name)
        done = 0
        for part in self._parts(projection.generation):
            self._compare(part, found)
            done += sum(checkpoint.version for checkpoint in part)
            tell(done)
        return found

    def _compare(self, part: Sequence[Checkpoint], found: Verified) -> None:
        with database_errors():
            answers = ask(self._store, self._schema, [Question(each.stream, each.version) for each in part])
        for checkpoint, stored in zip(part, answers, strict=True):
            if difference := differs(checkpoint, stored):
                found.different += 1
                if len(found.differences) < _SHOWN:
                    found.differences.append(Difference(checkpoint.stream, checkpoint.version, difference))
            elif checkpoint.digest is None or stored.digest is None or not stored.highest:
                found.not_compared += 1
            else:
                found.same += 1

    def _parts(self, generation: int) -> Iterator[list[Checkpoint]]:
        """Yield checkpoints in parts that one statement can sum up in a short time."""
        after = ""
        while page := self._checkpoints.page(self._connection, generation, after, _PAGE):
            after = page[-1].stream
            part: list[Checkpoint] = []
            events = 0
            for checkpoint in page:
                if checkpoint.version:  # at 0 it is parked, and nothing is applied
                    part.append(checkpoint)
                    events += checkpoint.version
                if events >= _EVENTS:
                    yield part
                    part, events = [], 0
            if part:
                yield part
