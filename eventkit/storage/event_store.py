"""Appends events in the caller's transaction and reads them back; what a service author uses.

`append` writes one statement on the caller's own session or connection: the caller's rows and the events, or neither;
the caller commits. Everything is checked and encoded before any SQL. A stream that is not as expected is a
ConcurrencyError, after which a READ COMMITTED transaction can go on. A lost connection is DatabaseUnavailable; a lock
or statement timeout that the caller has set stays the driver's error.

Lock order: a Session's pending rows are flushed first, then the streams are locked. On connections change your rows
before you append, everywhere: a transaction that does it the other way round may deadlock with it (AppendDeadlock).
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self
from uuid import UUID

from eventkit.domain.catalog import Catalog
from eventkit.domain.envelope import Envelope
from eventkit.domain.master_keys import MasterKeys
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import ConfigurationError
from eventkit.storage.append import ANY, NO_STREAM, Append, Appended, Expected, append_steps
from eventkit.storage.append_sql import AppendSql, Entry
from eventkit.storage.drivers import Asynchronous, Door, Steps, Synchronous
from eventkit.storage.entries import Entries, stream_of
from eventkit.storage.inlining import Inlined, Inlining
from eventkit.storage.reading import LogBackwards, LogForwards, Paging, ReadSql, StreamPages, Window, page_steps
from eventkit.storage.sealing import Sealing
from eventkit.storage.tables import DEFAULT_SCHEMA

__all__ = ["ANY", "NO_STREAM", "Append", "Appended", "EventStore", "Expected"]


class EventStore:
    """The events of one service.

    `bind_arguments` tell a Session with several binds where eventkit's tables are: `{"mapper": Order}`. `master_keys`
    are needed to write personal data; without them it is read redacted. `inline` is an `Inline(...)` of projections
    that every append applies in its own transaction.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        schema: str = DEFAULT_SCHEMA,
        bind_arguments: Mapping[str, Any] | None = None,
        master_keys: MasterKeys | None = None,
        inline: Inlined | None = None,
    ) -> None:
        catalog.check_chains()
        if inline is not None and not isinstance(inline, Inlined):
            raise ConfigurationError(
                f"EventStore(inline={inline!r:.100}): wrap the projections, EventStore(…, inline=Inline(totals))"
            )
        self.catalog = catalog
        self.schema = schema
        self.bind_arguments = bind_arguments
        self.entries = Entries(catalog)
        self.sealing = Sealing(schema, master_keys)
        self.inline = inline
        self._sql = AppendSql(schema)
        self._read_sql = ReadSql(schema)
        self._append = Door("append", writes=True, bind_arguments=bind_arguments)
        self._append_many = self._append._replace(name="append_many")
        self._read_stream = Door("read_stream", writes=False, bind_arguments=bind_arguments)
        self._read_all = self._read_stream._replace(name="read_all")

    def following(self, cause: Envelope[Any], *, keep: Iterable[str] = ()) -> Self:
        """Return this store bound to a cause: what it appends belongs to the cause's story and trace.

        The user's own fields of the cause follow where `keep` names them. In a handler:
        `store.following(envelope).append(session, stream, event)`.
        """
        return self.with_metadata(cause.following(keep=keep))

    def with_metadata(self, metadata: Metadata | Mapping[str, Any]) -> Self:
        """Return this store bound to metadata: all that it appends has these fields, unless the call says others."""
        bound = copy(self)
        bound.entries = Entries(self.catalog, Metadata.of(metadata).over(self.entries.story))
        return bound

    def append(
        self,
        connection: Synchronous,
        stream: StreamId | str,
        *events: object,
        expected: Expected | int = ANY,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> Appended:
        """Append events to a stream in the caller's transaction, in one statement.

        `expected` is a version, NO_STREAM or ANY; another state is a ConcurrencyError, and nothing is written. `ids`
        make a retry after an unknown commit safe: the same ids at that very place are a success, elsewhere they are a
        DuplicateEventId.
        """
        entries = [self.entries.one(stream, events, expected, metadata, ids)]
        return self._run(self._append, connection, entries, repeatable=ids is not None)[0]

    async def append_async(
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        *events: object,
        expected: Expected | int = ANY,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> Appended:
        """Do what `append` does, on an asynchronous session or connection."""
        entries = [self.entries.one(stream, events, expected, metadata, ids)]
        return (await self._run_async(self._append, connection, entries, repeatable=ids is not None))[0]

    def append_many(self, connection: Synchronous, appends: Sequence[Append]) -> list[Appended]:
        """Append to several streams, to all or to none, in one statement; return what was done, in the same order."""
        entries, repeatable = self.entries.many(appends)
        return self._run(self._append_many, connection, entries, repeatable=repeatable)

    async def append_many_async(self, connection: Asynchronous, appends: Sequence[Append]) -> list[Appended]:
        """Do what `append_many` does, on an asynchronous session or connection."""
        entries, repeatable = self.entries.many(appends)
        return await self._run_async(self._append_many, connection, entries, repeatable=repeatable)

    def write(self, connection: Synchronous, entries: Sequence[Entry]) -> None:
        """Append what `entries` has checked and encoded, one entry a stream: what a process manager has gathered."""
        if entries:
            self._run(self._append_many, connection, list(entries), repeatable=False)

    def read_stream(
        self,
        connection: Synchronous,
        stream: StreamId | str,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> Iterator[Envelope[Any]]:
        """Read a stream's events above version `after`, oldest first or `backwards`, `batch` of them a statement."""
        pages = StreamPages(self._read_sql, stream_of(stream), Window(after, limit, batch), backwards=backwards)
        self._read_stream.check(connection)
        return self._pages(self._read_stream, connection, pages)

    def read_stream_async(
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> AsyncIterator[Envelope[Any]]:
        """Do what `read_stream` does, on an asynchronous session or connection: `async for`."""
        pages = StreamPages(self._read_sql, stream_of(stream), Window(after, limit, batch), backwards=backwards)
        self._read_stream.check_async(connection)
        return self._pages_async(self._read_stream, connection, pages)

    def read_all(
        self,
        connection: Synchronous,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> Iterator[Envelope[Any]]:
        """Read all events above position `after`, in order of position; `after` may be the last position that was read.

        What was pruned or archived is not there, and nothing says so: positions have holes anyway, of rollbacks. Who
        needs all of a stream reads that stream, which raises StreamPruned.
        Forwards, nothing is ever missed: reading ends before a missing position that an open transaction could still
        fill, and goes on there the next time. It needs READ COMMITTED on the primary. Backwards, it reads what it sees.
        """
        self._read_all.check(connection)
        return self._pages(self._read_all, connection, self._log(Window(after, limit, batch), backwards=backwards))

    def read_all_async(
        self,
        connection: Asynchronous,
        *,
        after: int = 0,
        backwards: bool = False,
        limit: int | None = None,
        batch: int = 1_000,
    ) -> AsyncIterator[Envelope[Any]]:
        """Do what `read_all` does, on an asynchronous session or connection: `async for`."""
        self._read_all.check_async(connection)
        pages = self._log(Window(after, limit, batch), backwards=backwards)
        return self._pages_async(self._read_all, connection, pages)

    def _run(self, door: Door, connection: Synchronous, entries: list[Entry], *, repeatable: bool) -> list[Appended]:
        steps = self._steps(entries, repeatable=repeatable)
        if self.inline is None:
            return door.run(connection, steps)
        return self._inlining(door, self.inline, entries).run(connection, steps)

    async def _run_async(
        self, door: Door, connection: Asynchronous, entries: list[Entry], *, repeatable: bool
    ) -> list[Appended]:
        steps = self._steps(entries, repeatable=repeatable)
        if self.inline is None:
            return await door.run_async(connection, steps)
        return await self._inlining(door, self.inline, entries).run_async(connection, steps)

    def _inlining(self, door: Door, inline: Inlined, entries: list[Entry]) -> Inlining:
        return Inlining(door, inline, entries, schema=self.schema, masters=self.sealing.masters)

    def _steps(self, entries: list[Entry], *, repeatable: bool) -> Steps[list[Appended]]:
        return append_steps(self._sql, self.catalog, entries, repeatable=repeatable, sealing=self.sealing)

    def _log(self, window: Window, *, backwards: bool) -> Paging:
        return (LogBackwards if backwards else LogForwards)(self._read_sql, window)

    def _pages(self, door: Door, connection: Synchronous, pages: Paging) -> Iterator[Envelope[Any]]:
        while not pages.over:
            for event in door.run(connection, page_steps(pages, self.sealing)):
                yield self.catalog.decode(event)

    async def _pages_async(self, door: Door, connection: Asynchronous, pages: Paging) -> AsyncIterator[Envelope[Any]]:
        while not pages.over:
            for event in await door.run_async(connection, page_steps(pages, self.sealing)):
                yield self.catalog.decode(event)
