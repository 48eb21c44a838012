"""Answers about events and streams."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventkit.insights.answers.amounts import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInsight:
    """An event; `data` and `metadata` only with `payload=True`."""

    position: int
    id: str
    source: str
    stream: str
    category: str
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    traceparent: str | None
    bytes: int  # of its data as stored
    is_amended: bool | None = None  # readers get other data, or a tombstone; only of a single event
    is_unsent: bool | None = None  # it is in the outbox; only of a single event
    metadata: dict[str, Any] | None = None  # the user's own
    data: str | None = None  # JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class CausedEvent:
    """An event of a causation tree; `depth` is 0 for the event that was asked for."""

    depth: int
    event: EventInsight


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """How far a projection has applied a stream."""

    projection: str
    version: int
    is_parked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInsight:
    """A stream."""

    stream: str
    category: str
    version: int
    pruned_to: int
    is_closed: bool  # archived
    last_recorded_at: datetime | None
    places: tuple[StreamPlace, ...]  # of projections that have read it
    dead_letters: Amount
    deadlines: Amount
