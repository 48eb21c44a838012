"""Checks and encodes an append before any SQL runs: streams, versions, ids, events and their metadata.

An event's metadata has the fields that the call gives, the fields that the store was bound to (`EventStore.following`,
`with_metadata`), and the current trace. The call's fields win. Called by `EventStore`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import Encoded, shown
from eventkit.domain.metadata import NONE, Metadata
from eventkit.domain.stream import StreamId
from eventkit.domain.tags import check_tags
from eventkit.errors import InvalidEvent
from eventkit.observability.tracing import Trace, current_trace
from eventkit.storage.entry import Entry
from eventkit.storage.events.append import ANY, NO_STREAM, Append, Expected

_LARGEST = 2**31 - 1  # a version is an integer


class Entries:
    """Makes the entries of one catalog's events; all of them have the metadata `story`."""

    def __init__(self, catalog: Catalog, story: Metadata = NONE) -> None:
        self._encode = catalog.encode
        self.story = story

    def one(
        self,
        stream: StreamId | str,
        events: Sequence[object],
        expected: Expected | int,
        metadata: Metadata | Mapping[str, Any] | None,
        ids: Sequence[UUID] | None,
        *,
        tags: Iterable[str] = (),
    ) -> Entry:
        """Check and encode the events of one stream; each has its own tags and these."""
        stream = stream if type(stream) is StreamId else stream_of(stream)
        if not events:
            raise InvalidEvent(f"nothing to append to {stream!r}: give at least one event")
        encode, trace = self._encode, current_trace()
        single = len(events) == 1  # most calls: without a comprehension, which is a call of a function
        encoded = [encode(events[0], stream)] if single else [encode(event, stream) for event in events]
        is_plain = metadata is None and trace is None and self.story is NONE
        return Entry(
            stream,
            None if expected is ANY else _version(expected),
            _with_tags(encoded, check_tags(tags)) if tags else encoded,
            _ids(ids, len(events)) if ids is not None else (uuid7(),) if single else tuple([uuid7() for _ in events]),
            ("{}" if is_plain else self._metadata(metadata, trace),) * len(events),
        )

    def many(self, appends: Sequence[Append]) -> tuple[list[Entry], bool]:
        """Check and encode the events of several streams; return also whether their ids are the caller's."""
        for append in appends:
            if not isinstance(append, Append):
                raise InvalidEvent(f"append_many takes Append(stream, events, …), not {shown(append)}")
        entries = [self.one(a.stream, a.events, a.expected, a.metadata, a.ids, tags=a.tags) for a in appends]
        if not entries:
            raise InvalidEvent("append_many was called with nothing to append")
        _check_distinct(entries)
        repeatable = {append.ids is not None for append in appends}
        if len(repeatable) > 1:
            raise InvalidEvent(
                "append_many was given ids for some streams but not for all, so a retry could not find all events of "
                "this call: give ids for every stream, or for none"
            )
        return entries, repeatable.pop()

    def _metadata(self, given: Metadata | Mapping[str, Any] | None, trace: Trace | None) -> str:
        story = self.story if trace is None else Metadata(**trace._asdict()).over(self.story)
        return Metadata.of(given).over(story).to_json()


def guarding(guards: Mapping[StreamId | str, Expected | int] | None, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of the guarded streams; raise InvalidEvent for one that the call also writes."""
    if not guards:
        return []
    if not isinstance(guards, Mapping):
        raise InvalidEvent(f"guards={guards!r:.100}: give the version expected of each stream, {{stream: version}}")
    written = {entry.stream for entry in entries}
    found = [Entry(stream_of(stream), _version(expected), [], (), ()) for stream, expected in guards.items()]
    for guard in found:
        if guard.expected is None:
            raise InvalidEvent(
                f"the guard of {guard.stream!r} expects any version, which guards nothing: give a version"
            )
        if guard.stream in written:
            raise InvalidEvent(f"{guard.stream!r} is written by this call: give expected= instead of a guard")
    return found


def _with_tags(events: list[Encoded], tags: tuple[str, ...]) -> list[Encoded]:
    return [event.tagged(tags) for event in events]


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Put the events of each stream into one entry, in the order given, each with its own metadata; any version."""
    by_stream: dict[StreamId, list[Entry]] = {}
    for entry in entries:
        by_stream.setdefault(entry.stream, []).append(entry)
    return [
        Entry(
            stream,
            None,
            [event for part in parts for event in part.events],
            tuple(event_id for part in parts for event_id in part.ids),
            tuple(metadata for part in parts for metadata in part.metadata),
        )
        for stream, parts in by_stream.items()
    ]


def stream_of(stream: StreamId | str) -> StreamId:
    """Return a stream's id, checked."""
    return stream if type(stream) is StreamId else StreamId.parse(stream)


def _version(expected: Expected | int) -> int | None:
    if expected is ANY:
        return None
    if expected is NO_STREAM:
        return 0
    if type(expected) is int and 0 <= expected < _LARGEST:
        return expected
    raise InvalidEvent(f"expected={expected!r} is no version: give ANY, NO_STREAM or a number from 1 to {_LARGEST - 1}")


def _ids(ids: Sequence[UUID], count: int) -> tuple[UUID, ...]:
    given = tuple(ids)
    for one in given:
        _check_id(one)
    if len(given) != count or len(set(given)) != count:
        raise InvalidEvent(
            f"ids: {len(given)} ids, {len(set(given))} of them distinct, for {count} events: give each event its own"
        )
    return given


def _check_id(one: object) -> None:
    if not isinstance(one, UUID):
        raise InvalidEvent(f"ids: {shown(one)} is no uuid.UUID")


def _check_distinct(entries: list[Entry]) -> None:
    for stream, count in Counter(entry.stream for entry in entries).items():
        if count > 1:
            raise InvalidEvent(f"one append_many names stream {stream!r} {count} times: put its events into one Append")
    ids = [event_id for entry in entries for event_id in entry.ids]
    if len(set(ids)) < len(ids):
        raise InvalidEvent("ids: an id is given to two events of this append_many")
