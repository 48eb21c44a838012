"""One reader of all events for the live subscriptions of a process: it keeps what came last, for those who follow.

A thread reads `events` as a projector without a broker does (`GapReader`), gap-safe and in the order of each stream,
and appends batches to a list that is bounded by bytes. A follower that is behind that list, or was too slow for it,
reads alone until it can join. It can join at a batch when everything returned before that batch lies below its own
place.
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

MAX_BYTES = 8_000_000  # of events that are kept for followers
PAGE, PAGE_BYTES = 1_000, 2_000_000  # events, and bytes, of a batch
_SHORTEST, _LONGEST = 0.001, 0.03  # seconds between two looks into the store
AGAIN = 1.0  # seconds until the next try where the database is away
_DOOR = Executor("subscribe", writes=False, bind_arguments=None)


class LiveBatch(NamedTuple):
    """Events as they were read at once."""

    begins: int  # the highest position that was looked at before
    events: list[EncodedEvent]
    size: int  # bytes
    floor: int  # the position up to which everything has been returned, with this batch


class Log:
    """All events above a position, read over a connection of its own."""

    def __init__(self, url: str, schema: str, sealing: Encryption, after: int | None) -> None:
        """Connect; None reads what comes from now on."""
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
                "commits in a failover, and gives positions out again. Subscribe from before the restore, or from 0"
            )

    @property
    def floor(self) -> int:
        """The position up to which everything has been returned."""
        return self._reader.floor()

    def read(self) -> LiveBatch:
        """Return what is next, which may be nothing."""
        begins = self._reader.cursor
        events = [encoded(row) for row in self._reader.read()]
        if self._sealing.masters is not None and events:
            _DOOR.run(self._connection, self._sealing.open(events))
        return LiveBatch(begins, events, sum(len(event.data) for event in events), self._reader.floor())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class LiveLog:
    """What came last, by the number of its batch; `join` and `get` are called by followers, from any thread."""

    def __init__(self, open_log: Callable[[int | None], Log], after: int | None) -> None:
        """Open the log at once, so that whoever starts it hears what is wrong; then read in a thread."""
        self._open = open_log
        self._log: Log | None = open_log(after)
        self._floor = self._log.floor
        self._cursor = self._floor
        self._batches: deque[LiveBatch] = deque()
        self._first = 0  # the number of the first batch that is kept
        self._size = 0
        self._changed = threading.Condition()
        self._wakers: set[Callable[[], None]] = set()
        self._failure: Exception | None = None
        self.followers: WeakSet[Any] = WeakSet()
        self._thread = threading.Thread(target=self._run, name="eventkit-subscribe", daemon=True)

    def start(self) -> None:
        """Begin to read: there is a follower."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread works, in this process."""
        return self._thread.is_alive()

    def place(self, after: int | None) -> int:
        """Return where a new follower stands: at `after`, or above all that was looked at."""
        with self._changed:
            return self._cursor if after is None else after

    def join(self, floor: int) -> int | None:
        """Return the number of the batch at which a follower that has everything up to `floor` goes on, if it can."""
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
        """Return a batch, None where it has not come in `timeout` seconds; LookupError where it is no longer kept."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_there(number), timeout):
                return None
            if self._failure:
                raise self._failure
            if number < self._first:
                raise LookupError
            return self._batches[number - self._first]

    def wake(self, waker: Callable[[], None]) -> None:
        """Call `waker`, once, when there is something new."""
        with self._changed:
            self._wakers.add(waker)

    def _is_there(self, number: int) -> bool:
        return self._failure is not None or number < self._first + len(self._batches)

    def _run(self) -> None:
        told = ""
        while self.followers:
            try:
                self._follow()
            except (DatabaseUnavailable, NotPrimary) as error:
                if str(error) != told:
                    logger.warning("live subscriptions wait: %s", error)
                told = str(error)
                time.sleep(AGAIN)
            except Exception as error:  # noqa: BLE001 raised by every follower
                self._fail(error)
                return

    def _follow(self) -> None:
        log, self._log = self._log or self._open(self._floor), None
        pause = _SHORTEST
        try:
            while self.followers:
                batch = log.read()
                self._floor = batch.floor
                if batch.events:
                    self._keep(batch)
                    pause = _SHORTEST
                else:
                    time.sleep(pause)
                    pause = min(pause * 2, _LONGEST)
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
        """Read above a position alone."""
        return Log(url, self._schema, self._sealing, after)

    def follow(self, url: str, after: int | None, follower: object) -> LiveLog:
        """Return the log of a database, begun at `after` where nobody followed it yet."""
        with self._lock:
            log = self._logs.get(url)
            if log is not None:
                log.followers.add(follower)
            if log is None or not log.is_running:  # or another process has forked from the one that started it
                log = self._logs[url] = LiveLog(lambda position: self.open(url, position), after)
                log.followers.add(follower)
                log.start()
            return log
