"""The loop of every worker process: work until stopped; wait and retry while the database or the broker is away.

The first SIGINT or SIGTERM requests a clean end, the second ends the process at once.
"""

import _thread
import gc
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from eventkit.errors import DatabaseUnavailable, Deposed, NotPrimary, TopicUnusable, TransportUnavailable
from eventkit.observability import logs, metrics
from eventkit.observability.liveness import loop, waiting_for

logger = logging.getLogger("eventkit.worker")

PASSING = (DatabaseUnavailable, NotPrimary, TransportUnavailable, TopicUnusable, Deposed)
_MIN_WAIT, _MAX_WAIT = 0.1, 5.0  # seconds between two attempts
_STEADY_TIME = 30.0  # seconds of work after which a failure counts as the first
_REPEAT_INTERVAL = 30.0  # seconds until the same message is logged again


class Stop:
    """A request for a clean end of the process."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._signalled = False
        self._idle = False  # whether no work is in progress

    def set(self) -> None:
        """Request the end."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the end was requested."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the request up to `seconds`; return whether it came."""
        return self._event.wait(seconds)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Let a signal end the process at once inside this context: no work is in progress."""
        self._idle = True
        try:
            yield
        finally:
            self._idle = False

    def on_signals(self) -> None:
        """Let the first SIGINT or SIGTERM request a clean end, and the second end the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._idle:
            logs.write("worker", f"{signal.Signals(number).name}: no work was in progress")
        if self._idle or self._signalled or self.is_set():
            os._exit(128 + number)  # the clean-up itself may hang
        self._signalled = True
        logs.write("worker", f"{signal.Signals(number).name}: finishing the work in flight; once more to end at once")
        # The handler may have interrupted this very thread within `wait`, which holds the event's lock.
        _thread.start_new_thread(self.set, ())


def collect_garbage_rarely() -> None:
    """Collect reference cycles rarely in this process.

    Thousands of events in flight are hundreds of thousands of objects without a cycle. Collecting as often as Python
    does by default took a third of a relay's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Waits:
    """The waits between attempts after failures; a message is logged once, then repeated with a count."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._wait = _MIN_WAIT
        self._logged, self._logged_at = "", 0.0
        self._failing_since, self._attempts = 0.0, 0

    def failed(self, error: Exception, *, worked: float) -> float:
        """Log an error after `worked` seconds of work; return how many seconds to wait until the next attempt."""
        now = time.monotonic()
        if worked > _STEADY_TIME or not self._attempts:
            self._wait, self._failing_since, self._attempts = _MIN_WAIT, now, 0
        self._attempts += 1
        metrics.WORKER_RETRIES.add(1, self._name)
        if str(error) != self._logged:
            logger.warning("%s waits: %s", self._name, error)
            self._logged, self._logged_at = str(error), now
        elif now - self._logged_at > _REPEAT_INTERVAL:
            waited = now - self._failing_since
            logger.warning("%s waits for %.0f s, %d attempts: %s", self._name, waited, self._attempts, error)
            self._logged_at = now
        wait = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 jitter needs no secrecy
        self._wait = min(self._wait * 2, _MAX_WAIT)
        return wait


def supervise(
    work: Callable[[Stop], None], stop: Stop, *, name: str, passing: tuple[type[Exception], ...] = PASSING
) -> None:
    """Run `work` until it returns; after an error of the classes `passing`, log it, wait, and run it again.

    `passing` are the errors of a database or a broker that is away unless given; other errors are raised.
    """
    waits = Waits(name)
    with loop(name):
        while not stop.is_set():
            started = time.monotonic()
            try:
                work(stop)
            except passing as error:
                with waiting_for("the next attempt"):
                    stop.wait(waits.failed(error, worked=time.monotonic() - started))
            else:
                return
