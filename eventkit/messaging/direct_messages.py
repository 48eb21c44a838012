"""What is sent directly: events on the wire that have no place in a stream, each known by its id.

A request has one header more: the topic on which its reply is awaited. A reply names its request as its cause. Nothing
with personal data goes this way: only the event store seals it.
"""

from collections.abc import Mapping, Sequence
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
from eventkit.projection.batch import header
from eventkit.storage.events import ANY, Entries

REPLY_TO = "ce_replyto"  # the header of a request with the topic of its reply
OUTCOME = "ce_outcome"  # the header of a reply that is none: what became of the request
REFUSED, FAILED = "refused", "failed"
_PLAIN = 6  # headers that every direct message has


class DirectMessages:
    """Makes messages of one catalog's events; `story` is the metadata that all of them have."""

    def __init__(self, catalog: Catalog, story: Metadata = NONE) -> None:
        self.catalog = catalog
        self._entries = Entries(catalog, story)

    def messages(
        self,
        stream: StreamId | str,
        events: Sequence[object],
        *,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> list[Message]:
        """Check and encode events as `append` does, and put them on the wire."""
        entry = self._entries.one(stream, events, ANY, metadata, ids)
        topic, source = self.catalog.topic(entry.stream), self.catalog.name
        return [
            unversioned(encoded(event, source, entry.stream, str(event_id), Metadata.from_json(fields)), topic)
            for event, event_id, fields in zip(entry.events, entry.ids, entry.metadata, strict=True)
        ]


def encoded(event: Encoded, source: str, stream: str, event_id: str, metadata: Metadata) -> EncodedEvent:
    """Give an event what it needs to travel without a place in a stream."""
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
        extra=msgspec.json.encode(dict(metadata.extra)).decode() if metadata.extra else None,
    )


def text_of(message: Message, name: str) -> str:
    """Return a header that not every message has, as text; empty where it is missing."""
    value = header(message, name, _PLAIN)
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def refuse_personal(event: Encoded) -> None:
    """Refuse what would have to be sealed."""
    if isinstance(event, Sealable):
        raise InvalidEvent(
            f"{event.type} has personal data, which only the event store can seal: append it, and let the relay send it"
        )
