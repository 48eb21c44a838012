"""One reader of all events for the live subscriptions of a process; it keeps the latest events in memory.

A thread reads `events` as a projector without a broker does (`GapReader`), gap-safe and in the order of each stream,
and appends batches to a list that is bounded by bytes. A follower that is behind that list reads on its own connection
until it can join. It can join at a batch when all events returned before that batch lie below its own position.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
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
    """All events above a position, read over its own connection; `after=None` begins with the next event."""

    def __init__(self, url: str, schema: str, sealing: Encryption, after: int | None) -> None:
        self._connection = connect(url, name="subscribe", schema=schema, autocommit=True, options=READING)
        source = EventLog(self._connection, schema)
        self._refuse_restored(source.drawn(), after or 0)
        self._reader = GapReader(source, limit=PAGE, max_bytes=PAGE_BYTES)
        self._reader.start_after(source.horizon().position if after is None else after)
        self._sealing = sealing

    def _refuse_restored(self, drawn: int | None, after: int) -> None:
        if drawn is not None and drawn < after:
            self._connection.close()
            raise StoreRestored(
                f"the subscription is at position {after}, and the store has drawn {drawn}: it was restored, or lost "
                "commits in a failover, and draws positions again. Subscribe from before the restore, or from 0"
            )

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


class LiveLog:
    """The latest batches of events, by number, read by a thread; followers call `join` and `get` from any thread."""

    def __init__(self, open_log: Callable[[int | None], Log], after: int | None) -> None:
        self._open = open_log
        self._log: Log | None = open_log(after)  # here, so the first subscriber gets its errors
        self._floor = self._log.floor
        self._cursor = self._floor
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

    def place(self, after: int | None) -> int:
        """Return a new follower's position: `after`, or the highest position read."""
        with self._changed:
            return self._cursor if after is None else after

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

    def wake(self, waker: Callable[[], None]) -> None:
        """Call `waker`, once, when there is a new batch or a failure."""
        with self._changed:
            self._wakers.add(waker)

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
                self._floor = batch.floor
                if batch.events:
                    self._keep(batch)
                    pause = _MIN_POLL_INTERVAL
                else:
                    time.sleep(pause)
                    pause = min(pause * 2, _MAX_POLL_INTERVAL)
        finally:
            log.close()

    def _keep(self, batch: LiveBatch) -> None:
        with self._changed:
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


class LiveLogs:
    """The live logs of one store, one for each database."""

    def __init__(self, schema: str, sealing: Encryption) -> None:
        self._schema = schema
        self._sealing = sealing
        self._logs: dict[str, LiveLog] = {}
        self._lock = threading.Lock()

    def open(self, url: str, after: int | None) -> Log:
        """Open a log of one follower, above a position."""
        return Log(url, self._schema, self._sealing, after)

    def follow(self, url: str, after: int | None, follower: object) -> LiveLog:
        """Return the shared log of a database; start it at `after` where no follower has one yet."""
        with self._lock:
            log = self._logs.get(url)
            if log is not None:
                log.followers.add(follower)
            if log is None or not log.is_running:  # it has ended, or this process was forked from the one that has it
                log = self._logs[url] = LiveLog(lambda position: self.open(url, position), after)
                log.followers.add(follower)
                log.start()
            return log
