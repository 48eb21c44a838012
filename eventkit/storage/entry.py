"""The events of one call for one stream."""

from uuid import UUID

import msgspec

from eventkit.domain.codec import Encoded
from eventkit.domain.stream import StreamId


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Events for one stream, checked and encoded; none where the stream is only guarded."""

    stream: StreamId
    expected: int | None  # the version before; 0: no stream, None: any
    events: list[Encoded]
    ids: tuple[UUID, ...]
    metadata: tuple[str, ...]  # JSON, of each event
