"""Direct messages: events on the wire without a version in a stream, identified by their ids.

Events with personal data are refused: only the event store encrypts them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import Encoded, Sealable
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import Message, unversioned
from eventkit.domain.metadata import NONE, Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent
from eventkit.observability.tracing import NO_SPAN, Signal, is_on, size, span, trace_of
from eventkit.projection.batch import header
from eventkit.storage.events import ANY, Entries

_COMMON_HEADERS = 6  # at the start of every direct message


class DirectMessages:
    """Makes messages of one catalog's events; `metadata` is common to all of them."""

    def __init__(self, catalog: Catalog, metadata: Metadata = NONE) -> None:
        self.catalog = catalog
        self._entries = Entries(catalog, metadata)

    def span(
        self, signal: Signal, stream: StreamId | str, system: str, *, count: int = 1
    ) -> AbstractContextManager[object]:
        """Open a span around the making and sending of messages, which name it as their trace."""
        if not is_on():
            return NO_SPAN
        causes = trace_of(self._entries.story)
        named = {"messaging.system": system, **size(count)}
        return span(signal, [self.catalog.topic(str(stream))], causes=causes, attributes=named)

    def messages(
        self,
        stream: StreamId | str,
        events: Sequence[object],
        *,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> list[Message]:
        """Check and encode events as `append` does; return their messages."""
        entry = self._entries.one(stream, events, ANY, metadata, ids)
        topic, source = self.catalog.topic(entry.stream), self.catalog.name
        return [
            unversioned(encoded(event, source, entry.stream, str(event_id), Metadata.from_json(fields)), topic)
            for event, event_id, fields in zip(entry.events, entry.ids, entry.metadata, strict=True)
        ]


def encoded(event: Encoded, source: str, stream: str, event_id: str, metadata: Metadata) -> EncodedEvent:
    """Return an event for a direct message, with version 0 and the current time."""
    refuse_personal(event)
    return EncodedEvent(
        id=event_id,
        source=source,
        stream=stream,
        version=0,
        type=event.type,
        schema_version=event.schema_version,
        data=event.data,
        time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        correlation_id=metadata.correlation_id,
        causation_id=metadata.causation_id,
        traceparent=metadata.traceparent,
        tracestate=metadata.tracestate,
        extra=msgspec.json.encode(dict(metadata.extra)).decode() if metadata.extra else None,
    )


def text_of(message: Message, name: str) -> str:
    """Return an optional header as text; empty if it is missing."""
    value = header(message, name, _COMMON_HEADERS)
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def refuse_personal(event: Encoded) -> None:
    """Raise InvalidEvent for an event with personal data."""
    if isinstance(event, Sealable):
        raise InvalidEvent(
            f"{event.type} has personal data, which only the event store encrypts: append it, and let the relay send it"
        )
