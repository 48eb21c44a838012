"""Compares the checkpoints of a projection with the store: the digest of each one, then the streams that have none.

Another digest means that the read model has events that the store does not have. The store was restored, it failed over
to a lagging standby, or another producer published on its topic. Checkpoints are read in stream order, page by page,
each before the store: an applied event was in the store before.

A stream without a checkpoint is missing in the read model: none of its events was applied, nor passed as unhandled. Its
events may be on their way, so it is looked for again for a while. A rebuild corrects both.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.projection.apply import differs
from eventkit.storage.db import database_errors
from eventkit.storage.events import Question, StreamLog, StreamPart, ask, categories_of
from eventkit.storage.projections import Checkpoint, Checkpoints, Registered

_PAGE = 5_000  # checkpoints, or streams
_MAX_EVENTS = 100_000  # in one statement, unless a single stream has more
_MAX_DIFFERENCES = 100  # and missing streams
_LOOK_INTERVAL = 0.2  # seconds between looks at streams that are on their way


class Difference(msgspec.Struct, frozen=True):
    """A stream whose events in the read model differ from those in the store."""

    stream: str
    version: int
    difference: str


class Verified(msgspec.Struct):
    """The numbers of streams with the store's digest, with another one, without a checkpoint, and not compared.

    Not compared are streams that are not in this store, that were pruned beyond the checkpoint, or whose first events
    the projection has not seen. `differences` and `missing_streams` have the first hundred.
    """

    projection: str
    same: int = 0
    different: int = 0
    missing: int = 0
    not_compared: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)
    missing_streams: list[str] = msgspec.field(default_factory=list)


class CheckpointVerification:
    """Compares checkpoints, over autocommit connections to the read models' database and to the store."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        schema: str,
        *,
        store: psycopg.Connection[Any] | None = None,
        wait: float = 10.0,
    ) -> None:
        """Use `connection` for the store, too, unless `store` is given.

        `wait` is in seconds, for each projection: for the checkpoints of streams that are on their way.
        """
        self._connection = connection
        self._store = store or connection
        self._wait = wait
        self._schema = schema
        self._checkpoints = Checkpoints(schema)

    def events(self, projection: Registered) -> int:
        """Return the number of events that the checkpoints cover."""
        return self._checkpoints.events(self._connection, projection.generation)

    def verify(self, projection: Registered, report: Callable[[int], None]) -> Verified:
        """Compare all checkpoints, then look for streams that a read model has none of.

        Handlers, process managers and responders may have begun at the newest event: they miss no stream.
        `report` is called with the number of compared events after each statement.
        """
        found = Verified(projection.name)
        done = 0
        for part in self._parts(projection.generation):
            self._compare(part, found)
            done += sum(checkpoint.version for checkpoint in part)
            report(done)
        if projection.kind.endswith("projection"):
            with database_errors():
                self._find_missing(projection, found)
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

    def _find_missing(self, projection: Registered, found: Verified) -> None:
        deadline = time.monotonic() + self._wait
        log = StreamLog(self._store, self._schema, categories=projection.categories or self._categories(projection))
        after = ""
        while page := log.page(after, _PAGE, StreamPart()):  # streams before checkpoints: these only become more
            known = self._checkpoints.between(self._connection, projection.generation, after, page[-1][0])
            after = page[-1][0]
            left = [stream for stream, version in page if version and stream not in known]
            left = self._await_checkpoints(projection.generation, left, deadline)
            missing = log.with_events(left)
            found.missing += len(missing)
            found.not_compared += len(left) - len(missing)
            found.missing_streams += missing[: _MAX_DIFFERENCES - len(found.missing_streams)]

    def _await_checkpoints(self, generation: int, streams: list[str], deadline: float) -> list[str]:
        """Wait until these streams have checkpoints, or until the deadline; return those that have none."""
        while streams and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_LOOK_INTERVAL, left))
            known = self._checkpoints.read(self._connection, generation, streams)
            streams = [stream for stream in streams if stream not in known]
        return streams

    def _categories(self, projection: Registered) -> list[str]:
        """Return the categories that a projection of all categories reads: it has checkpoints in them, or handlers.

        A service may have categories that no transport carries, and that only their own service reads.
        """
        found = set(self._checkpoints.categories(self._connection, projection.generation))
        for handler in projection.retry.get("handlers", ()):
            found |= categories_of(self._store, self._schema, handler["source"], handler["type"])
        return sorted(found)
