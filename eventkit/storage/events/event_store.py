"""Appends events in the caller's transaction and reads them back. A service uses this class.

`append` runs one statement on the caller's own session or connection, and the caller commits: the caller's rows and the
events become durable together, or not at all. Everything is checked and encoded before any SQL runs. A stream that is
not as expected raises ConcurrencyError, and a READ COMMITTED transaction stays usable. A lost connection raises
DatabaseUnavailable. A lock or statement timeout that the caller has set stays the driver's error.

Lock order: a Session's pending rows are flushed first, then the streams are locked. On a connection, always change your
rows before you append: two transactions with different orders may deadlock (AppendDeadlock).
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import psycopg

from eventkit.domain.catalog import Catalog, category_of, listed
from eventkit.domain.codec import shown
from eventkit.domain.envelope import Envelope
from eventkit.domain.master_keys import MasterKeys
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import ConfigurationError, InvalidEvent
from eventkit.observability import tracing
from eventkit.storage.db import Asynchronous, Executor, Synchronous
from eventkit.storage.entry import Entry
from eventkit.storage.events.append import ANY, NO_STREAM, Append, Appended, Call, Expected, append_on, append_steps
from eventkit.storage.events.causation import (
    CausationTree,
    Caused,
    CorrelatedPages,
    FoundTree,
    StorySql,
    causes_steps,
    tree_steps,
)
from eventkit.storage.events.decision import Decision, Found, Item, QueryItem, items_of, query_steps
from eventkit.storage.events.entries import Entries, guarding, stream_of
from eventkit.storage.events.inline_append import InlineAppends, InlineProjections
from eventkit.storage.events.read import (
    Chosen,
    End,
    LogBackwards,
    LogForwards,
    Paging,
    ReadSql,
    StreamPages,
    Window,
    page_steps,
)
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.privacy import Encryption
from eventkit.storage.subscriptions import Database, Follower, LiveLogs, LiveSubscription, address_of, wanted_by
from eventkit.storage.tables import DEFAULT_SCHEMA

__all__ = [
    "ANY",
    "NO_STREAM",
    "Append",
    "Appended",
    "CausationTree",
    "Caused",
    "Decision",
    "EventStore",
    "Expected",
    "Guards",
    "QueryItem",
]

Guards = Mapping[StreamId | str, Expected | int]
"""Versions, or NO_STREAM, expected of streams."""


class EventStore:
    """The events of one service.

    `bind_arguments` select the bind with eventkit's tables, for a Session with several: `{"mapper": Order}`.
    `master_keys` are needed to write personal data; without them it is read redacted. `inline` is an `Inline(...)` of
    projections that every append applies in its own transaction.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        schema: str = DEFAULT_SCHEMA,
        bind_arguments: Mapping[str, Any] | None = None,
        master_keys: MasterKeys | None = None,
        inline: InlineProjections | None = None,
    ) -> None:
        catalog.check_chains()
        if inline is not None and not isinstance(inline, InlineProjections):
            raise ConfigurationError(
                f"EventStore(inline={inline!r:.100}): wrap the projections, EventStore(…, inline=Inline(totals))"
            )
        self.catalog = catalog
        self.schema = schema
        self.bind_arguments = bind_arguments
        self._entries = Entries(catalog)
        self._encryption = Encryption(schema, master_keys)
        self._inline = InlineAppends(inline, catalog, self._encryption, schema=schema) if inline is not None else None
        self._sql = TagSql(schema)
        self._live = LiveLogs(schema, self._encryption)
        self._read_sql = ReadSql(schema)
        self._story_sql = StorySql(schema)
        self._append = Executor("append", writes=True, bind_arguments=bind_arguments, schema=schema)
        self._append_many = self._append._replace(name="append_many")
        self._read_stream = Executor("read_stream", writes=False, bind_arguments=bind_arguments, schema=schema)
        self._read_all = self._read_stream._replace(name="read_all")
        self._query = self._read_stream._replace(name="query")
        self._read_causes = self._read_stream._replace(name="read_causes")
        self._causation_tree = self._read_stream._replace(name="causation_tree")

    def following(self, cause: Envelope[Any], *, keep: Iterable[str] = ()) -> Self:
        """Return this store bound to a cause: its events get the cause's correlation id, causation id and trace.

        `keep` names the user's own metadata fields to copy from the cause. In a handler:
        `store.following(envelope).append(session, stream, event)`.
        """
        return self.with_metadata(cause.following(keep=keep))

    def with_metadata(self, metadata: Metadata | Mapping[str, Any]) -> Self:
        """Return this store bound to metadata: all its events get these fields, unless a call gives others."""
        bound = copy(self)
        bound._entries = Entries(self.catalog, Metadata.of(metadata).over(self._entries.story))  # noqa: SLF001 a copy of itself
        return bound

    def append(  # noqa: PLR0913 each is a condition or a property of this one call
        self,
        connection: Synchronous,
        stream: StreamId | str,
        *events: object,
        expected: Expected | int = ANY,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
        tags: Sequence[str] = (),
        guards: Guards | None = None,
        unless_changed: Decision | None = None,
    ) -> Appended:
        """Append events to a stream in the caller's transaction, in one statement.

        `expected` is a version, NO_STREAM or ANY; another state raises ConcurrencyError, and nothing is written. `ids`
        make a retry after an unknown commit safe: the same ids at the same place are a success, at another place they
        raise DuplicateEventId. The events get `tags` besides the tags that their types declare. `guards` are versions,
        or NO_STREAM, expected of streams that this call does not write. `unless_changed` is a decision (see `query`):
        a newer event that matches it raises DecisionChanged, a kind of ConcurrencyError.
        """
        given = stream, events, expected, metadata, ids, tags, guards, unless_changed
        if tracing.is_on():
            with self._span([stream], len(events)):
                return self._run(self._append, connection, self._call_of_one(*given))[0]
        return self._run(self._append, connection, self._call_of_one(*given))[0]

    async def append_async(  # noqa: PLR0913 see append
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        *events: object,
        expected: Expected | int = ANY,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
        tags: Sequence[str] = (),
        guards: Guards | None = None,
        unless_changed: Decision | None = None,
    ) -> Appended:
        """Append like `append`, on an asynchronous session or connection."""
        given = stream, events, expected, metadata, ids, tags, guards, unless_changed
        with self._span([stream], len(events)):
            return (await self._run_async(self._append, connection, self._call_of_one(*given)))[0]

    def append_many(
        self,
        connection: Synchronous,
        appends: Sequence[Append],
        *,
        guards: Guards | None = None,
        unless_changed: Decision | None = None,
    ) -> list[Appended]:
        """Append to several streams, to all or to none, in one statement; return the results in the same order.

        `guards` and `unless_changed` are those of `append`.
        """
        with self._span_of(appends):
            return self._run(self._append_many, connection, self._call(appends, guards, unless_changed))

    async def append_many_async(
        self,
        connection: Asynchronous,
        appends: Sequence[Append],
        *,
        guards: Guards | None = None,
        unless_changed: Decision | None = None,
    ) -> list[Appended]:
        """Append like `append_many`, on an asynchronous session or connection."""
        with self._span_of(appends):
            return await self._run_async(self._append_many, connection, self._call(appends, guards, unless_changed))

    def query(self, connection: Synchronous, *items: QueryItem) -> Decision:
        """Return the events that match any of the items, as a decision to append by.

        Each item names tags, all of which an event must have, and types. All events are held in memory: keep the tags
        of a decision narrow.
        """
        asked = self._items(items)
        return self._decision(asked, self._query.run(connection, query_steps(self._sql, asked, self._encryption)))

    async def query_async(self, connection: Asynchronous, *items: QueryItem) -> Decision:
        """Query like `query`, on an asynchronous session or connection."""
        asked = self._items(items)
        steps = query_steps(self._sql, asked, self._encryption)
        return self._decision(asked, await self._query.run_async(connection, steps))

    def read_stream(  # noqa: PLR0913 each says which part of the stream
        self,
        connection: Synchronous,
        stream: StreamId | str,
        *,
        after: int = 0,
        until: int | datetime | None = None,
        before: int | None = None,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> Iterator[Envelope[Any]]:
        """Read a stream's events above version `after`, oldest first or `backwards`, `batch` of them a statement.

        `until` is the last version, or the time up to which events were recorded; `before` is a version to stop before.
        """
        pages = self._stream(stream, Window(after, limit, batch), End.of(until, before), backwards=backwards)
        self._read_stream.check(connection)
        return self._pages(self._read_stream, connection, pages)

    def read_stream_async(  # noqa: PLR0913 see read_stream
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        *,
        after: int = 0,
        until: int | datetime | None = None,
        before: int | None = None,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> AsyncIterator[Envelope[Any]]:
        """Read like `read_stream`, on an asynchronous session or connection: `async for`."""
        pages = self._stream(stream, Window(after, limit, batch), End.of(until, before), backwards=backwards)
        self._read_stream.check_async(connection)
        return self._pages_async(self._read_stream, connection, pages)

    def read_all(  # noqa: PLR0913 each says which of all events
        self,
        connection: Synchronous,
        *,
        after: int = 0,
        types: Sequence[type] = (),
        categories: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        correlation_id: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> Iterator[Envelope[Any]]:
        """Read all events above position `after`, in order of position; `after` may be the last position that was read.

        `types`, `categories`, `since` (inclusive) and `until` (exclusive) select events. The server skips the others,
        `batch` events a statement, so give a larger batch where few events match. `correlation_id` reads the events of
        one correlation id, by an index.
        Pruned and archived events are missing without notice, because positions also have holes from rollbacks. To be
        sure of a whole stream, use `read_stream`, which raises StreamPruned.
        Forwards, no event is missed: reading ends before a missing position that an open transaction could still fill,
        and the next call continues there. This needs READ COMMITTED on the primary. Backwards, it reads all visible
        events.
        """
        self._read_all.check(connection)
        chosen = self._chosen(types, categories, since, until)
        log = self._log(Window(after, limit, batch), chosen, correlation_id, backwards=backwards)
        return self._pages(self._read_all, connection, log)

    def read_all_async(  # noqa: PLR0913 see read_all
        self,
        connection: Asynchronous,
        *,
        after: int = 0,
        types: Sequence[type] = (),
        categories: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        correlation_id: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> AsyncIterator[Envelope[Any]]:
        """Read like `read_all`, on an asynchronous session or connection: `async for`."""
        self._read_all.check_async(connection)
        chosen = self._chosen(types, categories, since, until)
        log = self._log(Window(after, limit, batch), chosen, correlation_id, backwards=backwards)
        return self._pages_async(self._read_all, connection, log)

    def read_category(
        self,
        connection: Synchronous,
        category: str,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Envelope[Any]]:
        """Read the events of all streams of a category, as `read_all` does."""
        return self.read_all(connection, after=after, categories=[category], backwards=backwards, limit=limit)

    def read_category_async(
        self,
        connection: Asynchronous,
        category: str,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Envelope[Any]]:
        """Read like `read_category`, on an asynchronous session or connection: `async for`."""
        return self.read_all_async(connection, after=after, categories=[category], backwards=backwards, limit=limit)

    def read_causes(self, connection: Synchronous, event_id: UUID, *, limit: int = 1_000) -> list[Envelope[Any]]:
        """Return the chain of causes of an event, the first cause first and the event last.

        The chain begins at an event without a cause, or with a cause that is not in this store. It has at most `limit`
        events, the nearest ones. It is empty where there is no such event.
        """
        steps = causes_steps(self._story_sql, event_id, limit, self._encryption)
        return [self.catalog.decode(event) for event in self._read_causes.run(connection, steps)]

    async def read_causes_async(
        self, connection: Asynchronous, event_id: UUID, *, limit: int = 1_000
    ) -> list[Envelope[Any]]:
        """Read like `read_causes`, on an asynchronous session or connection."""
        steps = causes_steps(self._story_sql, event_id, limit, self._encryption)
        return [self.catalog.decode(event) for event in await self._read_causes.run_async(connection, steps)]

    def causation_tree(self, connection: Synchronous, event_id: UUID, *, limit: int = 1_000) -> CausationTree:
        """Return an event and all its effects, across streams: a list of pairs of depth and envelope.

        Each event is followed by its own effects, so printing them indented by `depth` draws the tree. The list has at
        most `limit` events, those nearest to the event; `is_cut` is true where there are more. It is empty where there
        is no such event.
        """
        steps = tree_steps(self._story_sql, event_id, limit, self._encryption)
        return self._tree(self._causation_tree.run(connection, steps))

    async def causation_tree_async(
        self, connection: Asynchronous, event_id: UUID, *, limit: int = 1_000
    ) -> CausationTree:
        """Read like `causation_tree`, on an asynchronous session or connection."""
        steps = tree_steps(self._story_sql, event_id, limit, self._encryption)
        return self._tree(await self._causation_tree.run_async(connection, steps))

    def subscribe(
        self,
        database: Database,
        *,
        after: int | None = 0,
        types: Sequence[type] = (),
        categories: Sequence[str] = (),
    ) -> LiveSubscription:
        """Return the events above position `after`, then new events as they commit: use `for` or `async for`.

        `database` is a URL, an engine or a psycopg pool; the subscriptions of a process share one connection of their
        own. `after=None` begins with the next event. `types` and `categories` select events; without them it yields
        all types of the catalog. To continue later, save `subscription.position`, not an envelope's position.
        """
        wanted = wanted_by(self.catalog, types, categories)
        Window(after or 0, None, 1)  # raises InvalidEvent where `after` is not a position
        return LiveSubscription(Follower(self._live, address_of(database), after), self.catalog.decode, wanted)

    def _span_of(self, appends: Sequence[Append]) -> AbstractContextManager[object]:
        if not tracing.is_on():
            return tracing.NO_SPAN
        streams = [getattr(append, "stream", "") for append in appends]  # what is no Append is refused within the span
        return self._span(streams, sum(len(getattr(append, "events", ())) for append in appends))

    def _span(self, streams: Sequence[StreamId | str], count: int) -> AbstractContextManager[object]:
        """Open the span of an append; its events name it as their trace."""
        if not tracing.is_on():
            return tracing.NO_SPAN
        causes = tracing.trace_of(self._entries.story)
        topics = [self.catalog.topic(str(stream)) for stream in streams]
        return tracing.span(tracing.APPEND, topics, causes=causes, attributes=tracing.size(count))

    def _call_of_one(  # noqa: PLR0913, PLR0917 the arguments of `append`
        self,
        stream: StreamId | str,
        events: Sequence[object],
        expected: Expected | int,
        metadata: Metadata | Mapping[str, Any] | None,
        ids: Sequence[UUID] | None,
        tags: Sequence[str],
        guards: Guards | None,
        decision: Decision | None,
    ) -> Call:
        entries = [self._entries.one(stream, events, expected, metadata, ids, tags=tags)]
        if guards:
            entries += guarding(guards, entries)
        return Call(entries, ids is not None, None if decision is None else _checked(decision))

    def _call(self, appends: Sequence[Append], guards: Guards | None, decision: Decision | None) -> Call:
        entries, repeatable = self._entries.many(appends)
        decision = None if decision is None else _checked(decision)
        return Call([*entries, *guarding(guards, entries)], repeatable, decision)

    def _items(self, items: Sequence[QueryItem]) -> list[Item]:
        if not items or not all(isinstance(item, QueryItem) for item in items):
            raise InvalidEvent(f"query takes one QueryItem(tags=[…]) or more, not {items!r:.200}")
        return items_of(self.catalog, items)

    def _decision(self, items: Sequence[Item], found: Found) -> Decision:
        return Decision(tuple([self.catalog.decode(event) for event in found.events]), tuple(items), found.seen)

    def _tree(self, found: FoundTree) -> CausationTree:
        tree = [Caused(depth, self.catalog.decode(event)) for depth, event in found.events]
        return CausationTree(tree, is_cut=found.is_cut)

    def _run(self, executor: Executor, connection: Synchronous, call: Call) -> list[Appended]:
        if self._inline is not None:
            return self._inline.run(executor, connection, call)
        if type(connection) is psycopg.Connection:
            execute = executor.open(connection, keeps=call.keeps_cursors).execute
            return append_on(execute, self._sql, self.catalog, call, self._encryption).appended
        return executor.run(connection, append_steps(self._sql, self.catalog, call, self._encryption)).appended

    async def _run_async(self, executor: Executor, connection: Asynchronous, call: Call) -> list[Appended]:
        if self._inline is not None:
            return await self._inline.run_async(executor, connection, call)
        return (
            await executor.run_async(connection, append_steps(self._sql, self.catalog, call, self._encryption))
        ).appended

    def _stream(self, stream: StreamId | str, window: Window, end: End, *, backwards: bool) -> Paging:
        return StreamPages(self._read_sql, stream_of(stream), window, backwards=backwards, end=end)

    def _chosen(
        self, types: Sequence[type], categories: Sequence[str], since: datetime | None, until: datetime | None
    ) -> Chosen:
        kinds = [self.catalog.type_of(cls) for cls in listed("types", types)]
        names = tuple((kind.source, name) for kind in kinds for name in kind.names)
        kept = tuple(category_of(category) for category in listed("categories", categories))
        return Chosen(names, kept, since, until)

    def _log(self, window: Window, chosen: Chosen, story: str | None, *, backwards: bool) -> Paging:
        if story is not None:
            return CorrelatedPages(self._story_sql, story, window, chosen, backwards=backwards)
        return (LogBackwards if backwards else LogForwards)(self._read_sql, window, chosen)

    def _pages(self, executor: Executor, connection: Synchronous, pages: Paging) -> Iterator[Envelope[Any]]:
        while not pages.over:
            for event in executor.run(connection, page_steps(pages, self._encryption)):
                yield self.catalog.decode(event)

    async def _pages_async(
        self, executor: Executor, connection: Asynchronous, pages: Paging
    ) -> AsyncIterator[Envelope[Any]]:
        while not pages.over:
            for event in await executor.run_async(connection, page_steps(pages, self._encryption)):
                yield self.catalog.decode(event)


def _checked(decision: object) -> Decision:
    if not isinstance(decision, Decision):
        raise InvalidEvent(
            f"unless_changed={shown(decision)}: give a decision as `query` returns it; of a decision model, "
            "`model.decision`"
        )
    return decision


# What other rooms need of a store, and its users do not.


def encode_entry(
    store: EventStore,
    stream: StreamId | str,
    *events: object,
    expected: Expected | int = ANY,
    metadata: Metadata | Mapping[str, Any] | None = None,
) -> Entry:
    """Check and encode events for one stream, as `append` does."""
    return store._entries.one(stream, events, expected, metadata, None)  # noqa: SLF001 this module's own class


def write_entries(store: EventStore, connection: Synchronous, entries: Sequence[Entry]) -> None:
    """Append encoded entries, one a stream, in one statement."""
    if entries:
        store._run(store._append_many, connection, Call(list(entries)))  # noqa: SLF001 this module's own class


def encryption_of(store: EventStore) -> Encryption:
    """Return the encryption of the store's personal data."""
    return store._encryption  # noqa: SLF001 this module's own class
