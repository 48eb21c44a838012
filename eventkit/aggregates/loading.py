"""Load an aggregate: read its stream page by page, and fold the decoded events.

The code is written once for sync and async, as steps. A stream with missing versions (pruned, archived) raises
MissingEvents, because a state folded from a part of it would be wrong.
"""

from typing import Generic, TypeVar

from eventkit.aggregates.fold import Fold
from eventkit.aggregates.snapshots import Keeper
from eventkit.aggregates.track import Track
from eventkit.domain.envelope import EncodedEvent, envelope_of
from eventkit.domain.stream import StreamId
from eventkit.errors import MissingEvents, UndecodableEvent, UnexpectedEvent, UnknownEventType
from eventkit.storage.db import Steps
from eventkit.storage.events import NO_END, End, EventStore, ReadSql, StreamPages, Window, encryption_of, page_steps

S = TypeVar("S")
A = TypeVar("A")
PAGE = 1_000  # events per statement


class Loader(Generic[S, A]):
    """Load aggregates of one kind."""

    def __init__(self, fold: Fold[S, A], store: EventStore, keeper: Keeper[S] | None = None) -> None:
        """Raise UnknownEventType if the catalog lacks an event of the fold."""
        catalog = store.catalog
        for cls in fold.steps:
            catalog.type_of(cls)
        self._fold = fold
        self._catalog = catalog
        self._sealing = encryption_of(store)
        self._sql = ReadSql(store.schema)
        self._keeper = keeper
        self._ignored = {
            name for cls in fold.ignored for name in (catalog.type_of(cls).names if isinstance(cls, type) else (cls,))
        }

    def steps(self, stream: StreamId, end: End = NO_END) -> Steps[A]:
        """Read a stream, from its snapshot on if there is one; an empty stream gives an aggregate at version 0."""
        keeper = self._keeper if end is NO_END else None  # a snapshot may be newer than the end
        recalled = (yield from keeper.recall(stream)) if keeper else None
        state, version = recalled or (self._fold.initial(), 0)
        track = Track(stream, version, snapshot=version)
        self._fold.opened(state, track)  # an aggregate's evolve methods may read its stream and version
        pages = StreamPages(self._sql, stream, Window(track.version, None, PAGE), end=end)
        state = yield from self._folded(state, pages, track)
        return self._fold.opened(state, track)

    def deferred_steps(self, state: S, track: Track) -> Steps[None]:
        """Apply the recorded events that need their envelopes to the state; they are stored now."""
        if track.stream is None or not track.deferred:
            return
        track.version += len(track.recorded) - track.deferred
        window, track.deferred = Window(track.version, track.deferred, PAGE), 0
        yield from self._folded(state, StreamPages(self._sql, track.stream, window), track)

    def _folded(self, state: S, pages: StreamPages, track: Track) -> Steps[S]:
        while not pages.over:
            for event in (yield from page_steps(pages, self._sealing)):
                state = self._after(state, event, track)
        track.evolving = None
        return state

    def _after(self, state: S, event: EncodedEvent, track: Track) -> S:
        track.version += 1
        if event.version != track.version:
            raise MissingEvents(
                f"{self._fold.name} cannot be loaded: versions {track.version} to {event.version - 1} of "
                f"{event.stream!r} are not in the store: restore what was pruned or archived"
            )
        if event.type in self._ignored:
            return state
        track.evolving = track.version
        try:
            decoded = self._catalog.event_of(event)
            if type(decoded) in self._fold.enveloped:
                return self._fold.evolve(state, decoded, envelope_of(decoded, event))
            return self._fold.evolve(state, decoded)
        except UnexpectedEvent as error:
            raise UnexpectedEvent(error.aggregate, event.type, _place(event)) from None
        except (UndecodableEvent, UnknownEventType) as error:
            raise type(error)(f"{self._fold.name} cannot be loaded: {_place(event)}: {error}") from error
        except Exception as error:
            error.add_note(f"while {self._fold.name} was loaded: {_place(event)}, {event.type}")
            raise


def _place(event: EncodedEvent) -> str:
    return f"version {event.version} of {event.stream!r}"
