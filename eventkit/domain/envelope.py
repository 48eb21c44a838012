"""An event with its id, stream, version and metadata, decoded (`Envelope`) and encoded (`EncodedEvent`).

Handlers and readers get envelopes. Storage and transports carry encoded events and never need the event's class, so
the relay runs without the service's code.
"""

from collections.abc import Iterable
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from eventkit.domain.header_values import time_of
from eventkit.domain.metadata import NONE, Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidStreamId, UndecodableEvent

E = TypeVar("E")


class EncodedEvent(msgspec.Struct, gc=False, kw_only=True):
    """An event as it is stored and sent; no field needs the event's class."""

    id: str  # UUID, canonical text
    source: str  # the catalog that recorded it
    stream: str
    version: int  # from 1
    type: str
    schema_version: int = 1
    data: bytes | str  # JSON
    time: str  # recorded_at, RFC 3339 in UTC, as on the wire
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    extra: str | None = None  # JSON object of the user's own metadata
    position: int | None = None  # None if it was received through a transport
    opened: bool = False  # True: personal values in `data` are decrypted, so no error message may show them


class Envelope(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """An event with its stream, version and metadata."""

    event: E
    id: UUID
    source: str
    stream: StreamId
    version: int
    type: str
    schema_version: int
    metadata: Metadata
    recorded_at: datetime
    position: int | None

    def following(self, *, keep: Iterable[str] = ()) -> Metadata:
        """Return the metadata of an event that this one causes.

        The correlation id is this event's, or its id if it has none. The trace is this event's, unless a span is open
        at the append. `keep` names the user's own fields that are copied.
        """
        given = self.metadata
        return Metadata.fitting(  # any producer may have sent this event, with ids that cannot be stored
            correlation_id=given.correlation_id or str(self.id),
            causation_id=str(self.id),
            traceparent=given.traceparent,
            tracestate=given.tracestate,
            extra={name: self.metadata.extra[name] for name in keep if name in self.metadata.extra},
        )


def envelope_of(event: E, encoded: EncodedEvent) -> Envelope[E]:
    """Return the envelope of a decoded event; raise UndecodableEvent if a field of it cannot be read."""
    try:
        return Envelope(
            event=event,
            id=msgspec.convert(encoded.id, UUID),  # three times as fast as UUID(…)
            source=encoded.source,
            stream=StreamId.parse(encoded.stream),
            version=encoded.version,
            type=encoded.type,
            schema_version=encoded.schema_version,
            metadata=_metadata_of(encoded),
            recorded_at=time_of(encoded.time),
            position=encoded.position,
        )
    except (msgspec.DecodeError, ValueError, TypeError, InvalidStreamId, RecursionError) as error:
        place = f"version {encoded.version} of {encoded.stream!r}, id {encoded.id!r}, time {encoded.time!r}"
        raise UndecodableEvent(f"the event at {place}, has no readable envelope: {error}") from error


def _metadata_of(encoded: EncodedEvent) -> Metadata:
    if encoded.correlation_id is encoded.causation_id is encoded.traceparent is encoded.extra is None:
        return NONE
    extra = msgspec.json.decode(encoded.extra, type=dict[str, Any]) if encoded.extra else {}
    return Metadata(
        correlation_id=encoded.correlation_id,
        causation_id=encoded.causation_id,
        traceparent=encoded.traceparent,
        tracestate=encoded.tracestate,
        extra=MappingProxyType(extra),
    )
