"""Live subscriptions: the events above a position, then new events as they commit, without a broker.

    for envelope in store.subscribe(url, after=position, types=[OrderPlaced]):        # or: async for
        ...

The events of a stream are yielded in order. Events of different streams are yielded in the order of their positions,
except those of a transaction that was open when later events were read: others do not wait for it. So continue from
`subscription.position`, not from the last envelope's position: all events up to it have been yielded, and events above
it may be yielded again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self

from eventkit.domain.catalog import Catalog, category_of
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.errors import DatabaseUnavailable, NotPrimary
from eventkit.storage.subscriptions.live_log import RETRY_INTERVAL, LiveBatch, LiveLog, LiveLogs, Log
from eventkit.storage.subscriptions.position_ranges import PositionRanges

logger = logging.getLogger("eventkit.subscribe")

Decode = Callable[[EncodedEvent], Envelope[Any]]
Wanted = Callable[[EncodedEvent], bool]
_WAIT_TIMEOUT = 0.5  # seconds, so that a thread may be interrupted
_POLL_INTERVAL = 0.02  # seconds, of a follower that reads on its own connection
MAX_RANGES = 100_000  # of returned positions above the floor, which end at positions that may still appear: 1.6 MB


class Follower:
    """One subscription's position: it reads on its own connection while it is behind, then from the shared log.

    It begins above `after`; None begins with the next event.
    """

    def __init__(self, logs: LiveLogs, url: str, after: int | None) -> None:
        self._logs, self._url = logs, url
        self._live: LiveLog | None = logs.follow(url, after, self)
        self._number: int | None = None  # of the batch that is next
        self._alone: Log | None = None
        self._returned = PositionRanges()  # above the floor
        self._was_full = False
        self.floor = self._live.place(after)

    @property
    def live(self) -> LiveLog | None:
        """The shared log, where this follower has joined it."""
        return self._live if self._number is not None else None

    def read(self, timeout: float) -> list[EncodedEvent]:
        """Return the next events; an empty list after `timeout` seconds, or while the database is unavailable."""
        if self._number is None:
            self._join()
        batch = self._read_alone() if self._number is None else self._read_live(self._number, timeout)
        return self._take(batch) if batch else []

    def close(self) -> None:
        if self._live:
            self._live.followers.discard(self)
        self._live = None
        self._leave()

    def _join(self) -> None:
        if self._live is None or not self._live.is_running:
            self._live = self._logs.follow(self._url, self.floor, self)
        self._number = None if self._is_full() else self._live.join(self.floor)
        if self._number is not None:
            self._leave()

    def _leave(self) -> None:
        if self._alone:
            self._alone.close()
        self._alone = None

    def _read_live(self, number: int, timeout: float) -> LiveBatch | None:
        live = self._live
        if live is None:
            return None
        try:
            batch = live.get(number, timeout)
        except LookupError:  # too slow: the next batch was dropped
            self._number = None
            return None
        if batch is not None:
            self._number = number + 1
        elif not live.is_running:
            self._number = None
        return batch

    def _read_alone(self) -> LiveBatch | None:
        try:
            self._alone = self._alone or self._logs.open(self._url, self.floor)
            batch = self._alone.read(above=not self._is_full() or self._alone.cursor < self._returned.highest)
        except (DatabaseUnavailable, NotPrimary):
            self._leave()
            time.sleep(RETRY_INTERVAL)
            return None
        if not batch.events:
            time.sleep(_POLL_INTERVAL)
        return batch

    def _is_full(self) -> bool:
        """Whether too many positions below the returned ones may still appear: then only those are read.

        A follower forgets the ranges of returned positions when the oldest open transaction has ended.
        """
        is_full = len(self._returned) >= MAX_RANGES
        if is_full and not self._was_full:
            logger.warning(
                "a live subscription at position %d waits for a transaction that has been open since then: %d ranges "
                "of later positions are returned, and other transactions may own the positions between them",
                self.floor,
                len(self._returned),
            )
        self._was_full = is_full
        return is_full

    def _take(self, batch: LiveBatch) -> list[EncodedEvent]:
        fresh = self._fresh(batch.events)
        self._returned.add([event.position or 0 for event in fresh])
        if batch.floor > self.floor:
            self.floor = batch.floor
            self._returned.forget(self.floor)
        if self._number is not None and self._is_full():
            self._number = None  # the shared reader goes on for others
        return fresh

    def _fresh(self, events: list[EncodedEvent]) -> list[EncodedEvent]:
        """Return the events that were not returned before; all of them, as usual, if they are above the others."""
        if not events or (events[0].position or 0) > max(self.floor, self._returned.highest):
            return events
        return [
            event
            for event in events
            if (event.position or 0) > self.floor and (event.position or 0) not in self._returned
        ]


class LiveSubscription:
    """An iterator over events, made by `EventStore.subscribe`; use `for` or `async for` in one thread or task, `close`.

    It is also a context manager, which closes it.
    """

    def __init__(self, follower: Follower, decode: Decode, wanted: Wanted) -> None:
        self._follower = follower
        self._decode, self._wanted = decode, wanted
        self._ready: list[EncodedEvent] = []  # the next one last
        self._position = follower.floor
        self._after_ready = follower.floor
        self._closed = False
        self._reading: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The position up to which all events have been yielded and handled; the current event does not count."""
        return self._position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Envelope[Any]:
        """Wait for the next event."""
        while not self._closed:
            if (envelope := self._next()) is not None:
                return envelope
            self._fill(_WAIT_TIMEOUT)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Envelope[Any]:
        """Wait for the next event."""
        while not self._closed:
            if (envelope := self._next()) is not None:
                return envelope
            await self._fill_async()
        raise StopAsyncIteration

    def close(self) -> None:
        """End the iteration, from any thread, and close its connection."""
        self._closed = True
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Envelope[Any] | None:
        if not self._ready:
            self._position = self._after_ready
            return None
        return self._decode(self._ready.pop())

    def _fill(self, timeout: float) -> None:
        try:
            events = self._follower.read(timeout)
        except Exception:
            if self._closed:  # by another thread meanwhile
                return
            raise
        self._ready = [event for event in events if self._wanted(event)][::-1]
        self._after_ready = self._follower.floor

    async def _fill_async(self) -> None:
        """Wait without a thread where the log is shared; else read in a thread."""
        live = self._follower.live
        if live is None or self._reading is not None:
            # A task that is cancelled while it waits loses no event: the next one waits for the same read.
            self._reading = self._reading or asyncio.ensure_future(asyncio.to_thread(self._fill, 0))
            await asyncio.shield(self._reading)
            self._reading = None
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        live.wake(lambda: _notify(loop, news))
        self._fill(0)
        if not self._ready and not self._closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), _WAIT_TIMEOUT)


def _notify(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(news.set)


def wanted_by(catalog: Catalog, types: Sequence[type], categories: Iterable[str]) -> Wanted:
    """Return the filter of a subscription: `types`, or all types that the catalog registers or consumes."""
    kinds = [catalog.type_of(cls) for cls in types] or catalog.types
    names = frozenset((kind.source, name) for kind in kinds for name in kind.names)
    kept = frozenset(category_of(category) for category in categories)
    own = None if types else catalog.name  # an unknown type of the catalog's own source is an error, not skipped

    def wanted(event: EncodedEvent) -> bool:
        of_kind = event.source == own or (event.source, event.type) in names
        return of_kind and (not kept or event.stream.partition("-")[0] in kept)

    return wanted
