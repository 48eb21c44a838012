"""The events of one call for one stream."""

from typing import NamedTuple
from uuid import UUID

from eventkit.domain.codec import Encoded
from eventkit.domain.stream import StreamId


class Entry(NamedTuple):
    """Events for one stream, checked and encoded; none where the stream is only guarded."""

    stream: StreamId
    expected: int | None  # the version before; 0: no stream, None: any
    events: list[Encoded]
    ids: tuple[UUID, ...]
    metadata: tuple[str, ...]  # JSON, of each event
