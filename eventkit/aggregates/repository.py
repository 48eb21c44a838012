"""Load and save aggregates on the caller's session or connection; the caller commits.

    with repository.change(session, "42") as order:      # loaded, or new
        order.pay()                                      # the recorded events are appended at the end of the block

Saving expects the stream at the version that was loaded. If another writer has appended meanwhile, it raises
ConcurrencyError: load again (`retry_on_conflict`). An exception in the block appends nothing. Do not use an aggregate
again if its save failed or its transaction was rolled back.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from datetime import datetime
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload
from uuid import UUID

from eventkit.aggregates.aggregate import Aggregate, fold_of
from eventkit.aggregates.decider import Decider, Deciding
from eventkit.aggregates.fold import Fold
from eventkit.aggregates.loading import Loader
from eventkit.aggregates.snapshots import Keeper, Snapshots
from eventkit.aggregates.track import Track, Tracked, track_of
from eventkit.domain.envelope import Envelope
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId, check_category
from eventkit.errors import AggregateError, InvalidStreamId
from eventkit.storage.db import Asynchronous, Executor, Steps, Synchronous
from eventkit.storage.events import NO_END, NO_STREAM, Append, Appended, Decision, End, EventStore, Expected, Guards

A = TypeVar("A", bound=Tracked)
C = TypeVar("C")
G = TypeVar("G", bound=Aggregate)
S = TypeVar("S")
Key = StreamId | str | int | UUID
Story = Metadata | Mapping[str, Any] | None


def fold_for(aggregate: type[Aggregate] | Decider[Any, Any]) -> Fold[Any, Any]:
    """Return the fold of either style."""
    if isinstance(aggregate, Decider):
        return aggregate.fold
    return fold_of(aggregate)


class Draft(NamedTuple):
    """The append of one aggregate's recorded events."""

    stream: StreamId
    expected: Expected | int
    events: list[Any]


class Repository(Generic[A]):
    """The aggregates of one kind; their streams are `category-id`."""

    @overload
    def __init__(
        self: "Repository[G]",
        store: EventStore,
        aggregate: type[G],
        *,
        category: str,
        snapshots: Snapshots | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Repository[Deciding[C, S]]",
        store: EventStore,
        aggregate: Decider[C, S],
        *,
        category: str,
        snapshots: Snapshots | None = None,
    ) -> None: ...
    def __init__(self, store: EventStore, aggregate: Any, *, category: str, snapshots: Snapshots | None = None) -> None:
        """Check the aggregate against the store's catalog; without `snapshots` every load reads the whole stream."""
        self.category = check_category(category)
        self.store = store
        self._fold: Fold[Any, A] = fold_for(aggregate)
        self._keeper = Keeper(snapshots, self._fold, store) if snapshots else None
        self._loader = Loader(self._fold, store, self._keeper)
        self._load = Executor("load", writes=False, bind_arguments=store.bind_arguments, schema=store.schema)
        self._save = Executor("save", writes=True, bind_arguments=store.bind_arguments, schema=store.schema)

    def new(self, key: Key) -> A:
        """Return a new aggregate without a query; saving it raises ConcurrencyError if its stream exists."""
        return self._fold.opened(self._fold.initial(), Track(self.stream(key)))

    def load(self, connection: Synchronous, key: Key, *, at: int | datetime | None = None) -> A:
        """Return the aggregate of an id or a stream; without events it is at version 0.

        `at` is a version or a time, and gives the past state. Saving a change of a past state raises ConcurrencyError.
        """
        return self._load.run(connection, self._steps(key, at))

    async def load_async(self, connection: Asynchronous, key: Key, *, at: int | datetime | None = None) -> A:
        """Do the same as `load`, on an asynchronous session or connection."""
        return await self._load.run_async(connection, self._steps(key, at))

    def save(
        self,
        connection: Synchronous,
        aggregate: A,
        *,
        metadata: Story = None,
        unless_changed: Decision | None = None,
        guards: Guards | None = None,
    ) -> Appended | None:
        """Append the events recorded since the aggregate was loaded; return None if there are none.

        `unless_changed` is a decision over other entities, and `guards` are versions expected of other streams. Raises
        ConcurrencyError if a stream has changed, and DecisionChanged if an event that the decision depends on was
        appended meanwhile.
        """
        draft = self._draft(aggregate)
        if draft is None:
            return None
        done = self.store.append(
            connection,
            draft.stream,
            *draft.events,
            expected=draft.expected,
            metadata=metadata,
            unless_changed=unless_changed,
            guards=guards,
        )
        return self._save.run(connection, self._saved(aggregate, done))

    async def save_async(
        self,
        connection: Asynchronous,
        aggregate: A,
        *,
        metadata: Story = None,
        unless_changed: Decision | None = None,
        guards: Guards | None = None,
    ) -> Appended | None:
        """Do the same as `save`, on an asynchronous session or connection."""
        draft = self._draft(aggregate)
        if draft is None:
            return None
        done = await self.store.append_async(
            connection,
            draft.stream,
            *draft.events,
            expected=draft.expected,
            metadata=metadata,
            unless_changed=unless_changed,
            guards=guards,
        )
        return await self._save.run_async(connection, self._saved(aggregate, done))

    def save_many(
        self,
        connection: Synchronous,
        *aggregates: A,
        metadata: Story = None,
        unless_changed: Decision | None = None,
        guards: Guards | None = None,
    ) -> list[Appended]:
        """Append the recorded events of all aggregates, or none; return the appends in the same order.

        The streams are locked in sorted order, so that two such calls cannot deadlock. `unless_changed` and `guards`
        are those of `save`.
        """
        drafts = self._drafts(aggregates)
        if not drafts:
            return []
        appends = self._appends(drafts, metadata)
        done = self.store.append_many(connection, appends, guards=guards, unless_changed=unless_changed)
        return [
            self._save.run(connection, self._saved(aggregate, one))
            for (aggregate, _), one in zip(drafts, done, strict=True)
        ]

    async def save_many_async(
        self,
        connection: Asynchronous,
        *aggregates: A,
        metadata: Story = None,
        unless_changed: Decision | None = None,
        guards: Guards | None = None,
    ) -> list[Appended]:
        """Do the same as `save_many`, on an asynchronous session or connection."""
        drafts = self._drafts(aggregates)
        if not drafts:
            return []
        appends = self._appends(drafts, metadata)
        done = await self.store.append_many_async(connection, appends, guards=guards, unless_changed=unless_changed)
        return [
            await self._save.run_async(connection, self._saved(aggregate, one))
            for (aggregate, _), one in zip(drafts, done, strict=True)
        ]

    @contextmanager
    def change(self, connection: Synchronous, key: Key, *, metadata: Story = None) -> Iterator[A]:
        """Load an aggregate, and save it at the end of the block; an exception in the block appends nothing."""
        aggregate = self.load(connection, key)
        yield aggregate
        self.save(connection, aggregate, metadata=metadata)

    @asynccontextmanager
    async def change_async(self, connection: Asynchronous, key: Key, *, metadata: Story = None) -> AsyncIterator[A]:
        """Do the same as `change`, on an asynchronous session or connection: `async with`."""
        aggregate = await self.load_async(connection, key)
        yield aggregate
        await self.save_async(connection, aggregate, metadata=metadata)

    def following(self, cause: Envelope[Any], *, keep: Iterable[str] = ()) -> Self:
        """Return this repository bound to a cause: saved events get the cause's correlation id and trace."""
        bound = copy(self)
        bound.store = self.store.following(cause, keep=keep)
        return bound

    def stream(self, key: Key) -> StreamId:
        """Return the stream of an id; a `StreamId` of this category is returned unchanged."""
        if isinstance(key, StreamId):
            if key.category != self.category:
                raise InvalidStreamId(f"{key!r} is no stream of category {self.category!r}, where {self._fold.name} is")
            return key
        if isinstance(key, str) and key.startswith(f"{self.category}-"):
            raise InvalidStreamId(
                f"{key!r} is text, so it is taken for an id, but looks like a stream: give StreamId.parse({key!r}), or "
                f"StreamId({self.category!r}, {key!r}) where the id really begins like that"
            )
        return StreamId(self.category, key)

    def _steps(self, key: Key, at: int | datetime | None) -> Steps[A]:
        return self._loader.steps(self.stream(key), NO_END if at is None else End.of(at, name="at"))

    def _draft(self, aggregate: A) -> Draft | None:
        track = track_of(aggregate)
        if not track.recorded:
            return None
        if track.stream is None:
            raise AggregateError(
                f"this {self._fold.name} has no stream: it was not loaded; make one with repository.new(id)"
            )
        return Draft(self.stream(track.stream), track.version or NO_STREAM, track.recorded)

    def _drafts(self, aggregates: Iterable[A]) -> list[tuple[A, Draft]]:
        return [(aggregate, draft) for aggregate in aggregates if (draft := self._draft(aggregate))]

    def _appends(self, drafts: Iterable[tuple[A, Draft]], metadata: Story) -> list[Append]:
        story = Metadata.of(metadata) if metadata is not None else None
        return [Append(one.stream, one.events, expected=one.expected, metadata=story) for _, one in drafts]

    def _saved(self, aggregate: A, done: Appended) -> Steps[Appended]:
        track = track_of(aggregate)
        yield from self._loader.deferred_steps(self._fold.state_of(aggregate), track)
        track.version, track.recorded = done.version, []
        if self._keeper:
            state, since = self._fold.state_of(aggregate), done.version - track.snapshot
            if (yield from self._keeper.keep(state, since, done)):
                track.snapshot = done.version
        return done
