"""One reader of all events for the live subscriptions of a process; it keeps the latest events in memory.

A thread reads `events` as a projector without a broker does (`GapReader`), gap-safe and in the order of each stream,
and appends batches to a list that is bounded by bytes. A follower that is behind that list reads on its own connection
until it can join. It can join at a batch when all events returned before that batch lie below its own position.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakSet

from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import DatabaseUnavailable, NotPrimary, StoreRestored
from eventkit.storage.db import Executor, connect
from eventkit.storage.outbox import READING, EventLog, GapReader, encoded
from eventkit.storage.privacy import Encryption

logger = logging.getLogger("eventkit.subscribe")

MAX_BYTES = 8_000_000  # of events in memory
PAGE, PAGE_BYTES = 1_000, 2_000_000  # events, and bytes, of a batch
_MIN_POLL_INTERVAL, _MAX_POLL_INTERVAL = 0.001, 0.03  # seconds
RETRY_INTERVAL = 1.0  # seconds, while the database is unavailable
_EXECUTOR = Executor("subscribe", writes=False, bind_arguments=None)


class LiveBatch(NamedTuple):
    """The events of one read."""

    begins: int  # the highest position read before
    events: list[EncodedEvent]
    size: int  # bytes
    floor: int  # the position up to which all events have been returned, with this batch


class Log:
    """All events above a position, read over its own connection."""

    def __init__(self, url: str, schema: str, sealing: Encryption, after: int) -> None:
        self._connection = connect(url, name="subscribe", schema=schema, autocommit=True, options=READING)
        try:
            source = EventLog(self._connection, schema)
            _refuse_restored(source.drawn(), after)
            self._reader = GapReader(source, limit=PAGE, max_bytes=PAGE_BYTES)
            self._reader.start_after(after)
        except BaseException:
            self._connection.close()
            raise
        self._sealing = sealing

    @property
    def floor(self) -> int:
        """The position up to which all events have been returned."""
        return self._reader.floor()

    @property
    def cursor(self) -> int:
        """The highest position that was read."""
        return self._reader.cursor

    def read(self, *, above: bool = True) -> LiveBatch:
        """Return the next events; the batch may be empty. Without `above`, read the gaps below the cursor alone."""
        begins = self._reader.cursor
        events = [encoded(row) for row in self._reader.read(above=above)]
        if self._sealing.masters is not None and events:
            _EXECUTOR.run(self._connection, self._sealing.open(events))
        return LiveBatch(begins, events, sum(len(event.data) for event in events), self._reader.floor())

    def close(self) -> None:
        self._connection.close()


def _refuse_restored(drawn: int | None, after: int) -> None:
    if drawn is not None and drawn < after:
        raise StoreRestored(
            f"the subscription is at position {after}, and the store has drawn {drawn}: it was restored, or lost "
            "commits in a failover, and draws positions again. Subscribe from before the restore, or from 0"
        )


class LiveLog:
    """The latest batches of events, by number, read by a thread; followers call `join` and `get` from any thread."""

    def __init__(self, open_log: Callable[[int], Log], after: int) -> None:
        self._open = open_log
        self._log: Log | None = open_log(after)  # here, so the first subscriber gets its errors
        self._floor = self._cursor = after
        self._batches: deque[LiveBatch] = deque()
        self._first = 0  # the number of the first batch in memory
        self._size = 0
        self._changed = threading.Condition()
        self._wakers: set[Callable[[], None]] = set()
        self._failure: Exception | None = None
        self.followers: WeakSet[Any] = WeakSet()
        self._thread = threading.Thread(target=self._run, name="eventkit-subscribe", daemon=True)

    def start(self) -> None:
        """Start the thread; there must be a follower."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process."""
        return self._thread.is_alive()

    def join(self, floor: int) -> int | None:
        """Return the number of the batch from which a follower with all events up to `floor` can read; else None."""
        with self._changed:
            if self._failure:
                raise self._failure
            if self._cursor == floor:
                return self._first + len(self._batches)
            if self._cursor < floor:
                return None
            for place in reversed(range(len(self._batches))):
                if self._batches[place].begins <= floor:
                    return self._first + place
            return None

    def get(self, number: int, timeout: float) -> LiveBatch | None:
        """Return a batch; None where it is not read within `timeout` seconds, LookupError where it was dropped."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_there(number), timeout):
                return None
            if self._failure:
                raise self._failure
            if number < self._first:
                raise LookupError
            return self._batches[number - self._first]

    def floor_at(self, number: int) -> int:
        """Return the position up to which all events were returned to a reader of all batches before this one."""
        with self._changed:
            return self._floor if number == self._first + len(self._batches) else 0

    @contextmanager
    def waking(self, waker: Callable[[], None]) -> Iterator[None]:
        """Call `waker`, at most once, when there is a new batch or a failure within the block."""
        with self._changed:
            self._wakers.add(waker)
        try:
            yield
        finally:
            with self._changed:
                self._wakers.discard(waker)

    def _is_there(self, number: int) -> bool:
        return self._failure is not None or number < self._first + len(self._batches)

    def _run(self) -> None:
        reported = ""
        while self.followers:
            try:
                self._follow()
            except (DatabaseUnavailable, NotPrimary) as error:
                if str(error) != reported:
                    logger.warning("live subscriptions wait: %s", error)
                reported = str(error)
                time.sleep(RETRY_INTERVAL)
            except Exception as error:  # noqa: BLE001 raised by every follower
                self._fail(error)
                return

    def _follow(self) -> None:
        log, self._log = self._log or self._open(self._floor), None
        pause = _MIN_POLL_INTERVAL
        try:
            while self.followers:
                batch = log.read()
                self._keep(batch)
                if batch.events:
                    pause = _MIN_POLL_INTERVAL
                else:
                    time.sleep(pause)
                    pause = min(pause * 2, _MAX_POLL_INTERVAL)
        finally:
            log.close()

    def _keep(self, batch: LiveBatch) -> None:
        with self._changed:
            self._floor = batch.floor
            if not batch.events:
                return
            self._batches.append(batch)
            self._size += batch.size
            while self._size > MAX_BYTES and len(self._batches) > 1:
                self._size -= self._batches.popleft().size
                self._first += 1
            self._cursor = max(self._cursor, *(event.position or 0 for event in batch.events))
            self._notify()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        wakers, self._wakers = self._wakers, set()
        for waker in wakers:
            waker()
