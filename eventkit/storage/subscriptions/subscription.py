"""Live subscriptions: what is in the store above a position, then what comes, without a broker.

    for envelope in store.subscribe(url, after=position, types=[OrderPlaced]):        # or: async for
        ...

The events of a stream come in order. Events of different streams come in the order of their positions, but for those
whose transaction was open when later ones came: they delay nobody. So the last envelope's position is no place to go on
from; `subscription.position` is one: everything up to it has been yielded. What lies above it may be yielded again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self

from eventkit.domain.catalog import Catalog, category_of
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.errors import DatabaseUnavailable, NotPrimary
from eventkit.storage.subscriptions.live_log import AGAIN, LiveBatch, LiveLog, LiveLogs, Log

Decode = Callable[[EncodedEvent], Envelope[Any]]
Wanted = Callable[[EncodedEvent], bool]
_WAIT = 0.5  # seconds of a wait, after which a thread may be interrupted
_PAUSE = 0.02  # seconds between two looks of a follower that reads alone and has found nothing


class Follower:
    """One place in the log: alone while it is behind, then with all others."""

    def __init__(self, logs: LiveLogs, url: str, after: int | None) -> None:
        """Go on above `after`; None begins with what comes from now on."""
        self._logs, self._url = logs, url
        self._live: LiveLog | None = logs.follow(url, after, self)
        self._number: int | None = None  # of the batch that is next
        self._alone: Log | None = None
        self._returned: set[int] = set()  # positions above the floor
        self.floor = self._live.place(after)

    @property
    def live(self) -> LiveLog | None:
        """The log that is shared, where this place has joined it."""
        return self._live if self._number is not None else None

    def read(self, timeout: float) -> list[EncodedEvent]:
        """Return the next events, none after a while; DatabaseUnavailable where there is no connection."""
        if self._number is None:
            self._join()
        batch = self._read_alone() if self._number is None else self._read_live(self._number, timeout)
        return self._take(batch) if batch else []

    def close(self) -> None:
        """Follow no more."""
        if self._live:
            self._live.followers.discard(self)
        self._live = None
        self._leave()

    def _join(self) -> None:
        if self._live is None or not self._live.is_running:
            self._live = self._logs.follow(self._url, self.floor, self)
        self._number = self._live.join(self.floor)
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
        except LookupError:  # too slow: what comes next is no longer kept
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
            batch = self._alone.read()
        except (DatabaseUnavailable, NotPrimary):
            self._leave()
            time.sleep(AGAIN)
            return None
        if not batch.events:
            time.sleep(_PAUSE)
        return batch

    def _take(self, batch: LiveBatch) -> list[EncodedEvent]:
        fresh = [
            event
            for event in batch.events
            if (event.position or 0) > self.floor and event.position not in self._returned
        ]
        self._returned.update(event.position or 0 for event in fresh)
        if batch.floor > self.floor:
            self.floor = batch.floor
            self._returned = {position for position in self._returned if position > self.floor}
        return fresh


class LiveSubscription:
    """Events, one after the other: iterate with `for` or with `async for`, in one thread or task; then `close` it."""

    def __init__(self, follower: Follower, decode: Decode, wanted: Wanted) -> None:
        """Be made by `EventStore.subscribe`."""
        self._follower = follower
        self._decode, self._wanted = decode, wanted
        self._ready: list[EncodedEvent] = []  # the next one last
        self._position = follower.floor
        self._after_ready = follower.floor
        self._closed = False
        self._reading: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The position up to which everything has been yielded, and handled: the event under way does not count."""
        return self._position

    def __iter__(self) -> Self:
        """Iterate in a thread."""
        return self

    def __next__(self) -> Envelope[Any]:
        """Wait for the next event."""
        while not self._closed:
            if (envelope := self._next()) is not None:
                return envelope
            self._fill(_WAIT)
        raise StopIteration

    def __aiter__(self) -> Self:
        """Iterate in a task."""
        return self

    async def __anext__(self) -> Envelope[Any]:
        """Wait for the next event."""
        while not self._closed:
            if (envelope := self._next()) is not None:
                return envelope
            await self._fill_async()
        raise StopAsyncIteration

    def close(self) -> None:
        """End the iteration, from any thread; nothing is left behind."""
        self._closed = True
        self._follower.close()

    def __enter__(self) -> Self:
        """Close it at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Close it at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
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
            if self._closed:  # by another thread, under this one's hands
                return
            raise
        self._ready = [event for event in events if self._wanted(event)][::-1]
        self._after_ready = self._follower.floor

    async def _fill_async(self) -> None:
        """Wait without a thread where the log is shared, in one where it is read alone."""
        live = self._follower.live
        if live is None or self._reading is not None:
            # A task that is cancelled while it waits loses nothing: the next one waits for the same reading.
            self._reading = self._reading or asyncio.ensure_future(asyncio.to_thread(self._fill, 0))
            await asyncio.shield(self._reading)
            self._reading = None
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        live.wake(lambda: _tell(loop, news))
        self._fill(0)
        if not self._ready and not self._closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), _WAIT)


def _tell(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(news.set)


def wanted_by(catalog: Catalog, types: Sequence[type], categories: Iterable[str]) -> Wanted:
    """Return the filter of a subscription: some types, or all of the catalog's own and all that it consumes."""
    kinds = [catalog.type_of(cls) for cls in types] or catalog.types
    names = frozenset((kind.source, name) for kind in kinds for name in kind.names)
    kept = frozenset(category_of(category) for category in categories)
    own = None if types else catalog.name  # one that the catalog does not know is an error, not passed over

    def wanted(event: EncodedEvent) -> bool:
        of_kind = event.source == own or (event.source, event.type) in names
        return of_kind and (not kept or event.stream.partition("-")[0] in kept)

    return wanted
