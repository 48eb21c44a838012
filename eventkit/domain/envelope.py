"""What is known about an event besides the fact itself, decoded (`Envelope`) and encoded (`EncodedEvent`).

Handlers and readers see envelopes. Storage and transports carry encoded events and never need the event's class:
the relay runs without the service's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from eventkit.domain.stream import StreamId

E = TypeVar("E")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Where an event came from: the ids of its story, of its cause, its trace, and the user's own fields."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    extra: Mapping[str, Any] = field(default=_NOTHING)


class EncodedEvent(msgspec.Struct, gc=False, kw_only=True):
    """An event as it is stored and sent: nothing in it needs the event's class."""

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
    extra: str | None = None  # JSON object of the user's own metadata
    position: int | None = None  # None when it came through a transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Generic[E]):
    """An event with its place and its story."""

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
