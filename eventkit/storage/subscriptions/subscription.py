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

from eventkit.domain.catalog import Catalog, category_of, listed
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.errors import DatabaseUnavailable, NotPrimary
from eventkit.storage.subscriptions.beginning import Beginning
from eventkit.storage.subscriptions.live_log import RETRY_INTERVAL, LiveBatch, LiveLog
from eventkit.storage.subscriptions.live_logs import LiveLogs
from eventkit.storage.subscriptions.position_ranges import PositionRanges

logger = logging.getLogger("eventkit.subscribe")

Decode = Callable[[EncodedEvent], Envelope[Any]]
Wanted = Callable[[EncodedEvent], bool]
_WAIT_TIMEOUT = 0.5  # seconds, so that a thread may be interrupted
_POLL_INTERVAL = 0.02  # seconds, of a follower that reads alone
_TURN_INTERVAL = 0.05  # seconds, while all sessions for reading alone are in use
MAX_RANGES = 100_000  # of returned positions above the floor, which end at positions that may still appear: 1.6 MB


class Follower:
    """One subscription's position: it reads alone while it is behind, then from the shared log.

    It begins above `after`; None begins with the next event.
    """

    def __init__(self, logs: LiveLogs, url: str, after: int | None) -> None:
        begins = Beginning(after) if after is not None else logs.now(url)
        self._logs, self._url = logs, url
        self._live: LiveLog | None = logs.follow(url, begins.floor, self)
        self._lone = logs.lone(url)
        self._number: int | None = None  # of the batch that is next
        self._returned = PositionRanges(begins.ranges)  # above the floor
        self._was_full = False
        self._reported = ""
        self._closed = False
        self.floor = begins.floor
        self.pause = 0.0

    @property
    def live(self) -> LiveLog | None:
        """The shared log, where this follower has joined it."""
        return self._live if self._number is not None else None

    def read(self, timeout: float) -> list[EncodedEvent] | None:
        """Return the next events, also none; None where nothing was read within `timeout` seconds.

        A follower that reads alone sets `pause`, the seconds to wait then; it has waited `timeout` of them.
        """
        self.pause = 0.0
        batch = self._read(timeout)
        if self._closed:  # by another thread meanwhile
            self.close()
        if batch is not None:
            return self._take(batch)
        time.sleep(min(self.pause, timeout))
        return None

    def close(self) -> None:
        self._closed = True
        if self._live:
            self._live.followers.discard(self)
        self._live = None
        self._lone.leave(self)

    def _read(self, timeout: float) -> LiveBatch | None:
        try:
            if self._number is None:
                self._join()
            return self._read_alone() if self._number is None else self._read_live(self._number, timeout)
        except (DatabaseUnavailable, NotPrimary) as error:
            self._lone.leave(self)
            self.pause = RETRY_INTERVAL
            if str(error) != self._reported:
                logger.warning("a live subscription at position %d waits: %s", self.floor, error)
            self._reported = str(error)
            return None

    def _join(self) -> None:
        if self._live is None or not self._live.is_running:
            self._live = self._logs.follow(self._url, self.floor, self)
        self._number = None if self._is_full() else self._live.join(self.floor)
        if self._number is not None:
            self._lone.leave(self)

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
        elif live.is_running:
            self._rise(live.floor_at(number))
        else:
            self._number = None
        return batch

    def _read_alone(self) -> LiveBatch | None:
        log = self._lone.borrow(self, lambda: self._logs.open(self._url, self.floor))
        if log is None:
            self.pause = _TURN_INTERVAL
            return None
        try:
            batch = log.read(above=not self._is_full() or log.cursor < self._returned.highest)
        finally:
            self._lone.give_back(self)
        self._reported = ""
        if not batch.events:
            self._rise(batch.floor)
            self.pause = _POLL_INTERVAL
            return None
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
        self._rise(batch.floor)
        if self._number is not None and self._is_full():
            self._number = None  # the shared reader goes on for others
        return fresh

    def _rise(self, floor: int) -> None:
        if floor > self.floor:
            self.floor = floor
            self._returned.forget(floor)

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
        self._reading: asyncio.Task[bool] | None = None

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

    def _fill(self, timeout: float) -> bool:
        """Read the next events; return whether anything was read, wanted or not."""
        try:
            events = self._follower.read(timeout)
        except Exception:
            if self._closed:  # by another thread meanwhile
                return False
            raise
        self._ready = [event for event in events or () if self._wanted(event)][::-1]
        self._after_ready = self._follower.floor
        return events is not None

    async def _fill_async(self) -> None:
        """Wait without a thread where the log is shared; else read in a thread."""
        live = self._follower.live
        if live is None or self._reading is not None:
            await self._fill_in_thread()
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        with live.waking(lambda: _notify(loop, news)):
            if not self._fill(0) and not self._closed:
                with suppress(TimeoutError):  # wait_for of Python 3.11 can lose a cancellation
                    async with asyncio.timeout(_WAIT_TIMEOUT):
                        await news.wait()

    async def _fill_in_thread(self) -> None:
        """Read in a thread. A task that is cancelled meanwhile loses no event: the next one waits for the same read."""
        reading = self._reading = self._reading or asyncio.ensure_future(asyncio.to_thread(self._fill, 0))
        try:
            has_read = await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None
        if not has_read and not self._closed:
            await asyncio.sleep(self._follower.pause)


def _notify(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(news.set)


def wanted_by(catalog: Catalog, types: Sequence[type], categories: Iterable[str]) -> Wanted:
    """Return the filter of a subscription: `types`, or all types that the catalog registers or consumes."""
    kinds = [catalog.type_of(cls) for cls in listed("types", types)] or catalog.types
    names = frozenset((kind.source, name) for kind in kinds for name in kind.names)
    kept = frozenset(category_of(category) for category in listed("categories", categories))
    own = None if types else catalog.name  # an unknown type of the catalog's own source is an error, not skipped

    def wanted(event: EncodedEvent) -> bool:
        of_kind = event.source == own or (event.source, event.type) in names
        return of_kind and (not kept or event.stream.partition("-")[0] in kept)

    return wanted
