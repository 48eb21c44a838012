"""Feed events to a projection, as messages of a broker: decode, apply and commit them in a real database.

It uses the code of the projector, without checkpoints, retries and parking: an error is raised.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from eventkit.domain.codec import Codec
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import message_of
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.projection.batch import Arrival
from eventkit.projection.define import Projection
from eventkit.projection.dispatch import Step
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.db import connect

STREAM = "given-1"  # the stream of events that are given without one


class At(NamedTuple):
    """Events of one stream."""

    stream: str
    events: tuple[object, ...]
    metadata: Metadata | Mapping[str, Any] | None = None
    time: datetime | None = None
    tags: Sequence[str] = ()


def at(
    stream: StreamId | str,
    *events: object,
    metadata: Metadata | Mapping[str, Any] | None = None,
    time: datetime | None = None,
    tags: Sequence[str] = (),
) -> At:
    """Give events a stream, and optionally metadata, the time at which they were recorded, and more tags."""
    return At(StreamId.parse(stream), events, metadata, time, tags)


class Feed:
    """One projection in one database; each stream's events have versions from 1."""

    def __init__(self, projection: Projection, database: str) -> None:
        """Connect to nothing yet."""
        self._projection = projection
        self._database = database
        self._versions: dict[str, int] = {}

    def apply(self, given: Iterable[object]) -> None:
        """Apply events in one transaction."""
        with self._workspace() as workspace, workspace.transaction() as connection:
            connection.execute("select 1")  # open the transaction, as a projector does by reading the fence
            self._projection.apply(workspace, list(self._steps(given)))

    @contextmanager
    def _workspace(self) -> Iterator[OwnTransaction]:
        """Open a connection of its own, as a projector does."""
        workspace = self._projection.workspace(connect(self._database, name="testing"))
        try:
            yield workspace
        finally:
            workspace.close()

    def _steps(self, given: Iterable[object]) -> Iterator[Step]:
        for one in given:
            part = one if isinstance(one, At) else At(STREAM, (one,))
            for event in part.events:
                step = self._projection.handlers.decode(self._arrival(part, event))
                if step is not None:
                    yield step

    def _arrival(self, part: At, event: object) -> Arrival:
        kind = self._projection.catalog.type_of(type(event))
        version = self._versions[part.stream] = self._versions.get(part.stream, 0) + 1
        story = Metadata.of(part.metadata)
        encoded = EncodedEvent(
            id=str(uuid4()),
            source=kind.source,
            stream=part.stream,
            version=version,
            type=kind.name,
            schema_version=kind.version,
            data=Codec(type(event)).encode(event),
            time=(part.time or datetime.now(UTC)).isoformat(),
            correlation_id=story.correlation_id,
            causation_id=story.causation_id,
            traceparent=story.traceparent,
            tracestate=story.tracestate,
            extra=Metadata(extra=story.extra).to_json() if story.extra else None,
        )
        return Arrival(part.stream, version, message_of(encoded, self._projection.catalog.topic(part.stream)))
