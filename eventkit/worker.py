"""The only loop: a process that works until it is told to stop, and goes on by itself when what it needs comes back.

The first SIGINT or SIGTERM asks for a clean end, the second ends the process at once. Nothing here knows what the work
is.
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
from eventkit.observability import logs

logger = logging.getLogger("eventkit.worker")

PASSING = (DatabaseUnavailable, NotPrimary, TransportUnavailable, TopicUnusable, Deposed)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_STEADY = 30.0  # seconds of work after which a failure is a new one
_REPEAT = 30.0  # seconds after which the same sentence is logged again


class Stop:
    """A request to come to a clean end."""

    def __init__(self) -> None:
        """Ask for nothing yet."""
        self._event = threading.Event()
        self._heard = False  # a signal
        self._idle = False  # nothing is under way

    def set(self) -> None:
        """Ask for it."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether it was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the request; return whether it came."""
        return self._event.wait(seconds)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Let a signal end the process at once as long as this lasts: nothing is under way."""
        self._idle = True
        try:
            yield
        finally:
            self._idle = False

    def on_signals(self) -> None:
        """Let the first SIGINT or SIGTERM ask for a clean end, and the second end the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._idle:
            logs.write("worker", f"{signal.Signals(number).name}: nothing was under way")
        if self._idle or self._heard or self.is_set():
            os._exit(128 + number)  # clean-up may be what hangs
        self._heard = True
        logs.write("worker", f"{signal.Signals(number).name}: finishing what is in flight; once more to end at once")
        # The handler may have interrupted this very thread within `wait`, which holds the event's lock.
        _thread.start_new_thread(self.set, ())


def collect_garbage_rarely() -> None:
    """Look for cycles rarely in this process.

    Thousands of events in flight are hundreds of thousands of objects without a cycle among them; looking through them
    as often as Python does by default took a third of a relay's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Waits:
    """The pauses of something that cannot go on now, and what is said of it: once, then counted."""

    def __init__(self, name: str) -> None:
        """Wait for nothing yet."""
        self._name = name
        self._wait = _FIRST_WAIT
        self._told, self._told_at = "", 0.0
        self._since, self._tries = 0.0, 0

    def failed(self, error: Exception, *, worked: float) -> float:
        """Say what is waited for, after so many seconds of work; return how many seconds to wait."""
        now = time.monotonic()
        if worked > _STEADY or not self._tries:
            self._wait, self._since, self._tries = _FIRST_WAIT, now, 0
        self._tries += 1
        if str(error) != self._told:
            logger.warning("%s waits: %s", self._name, error)
            self._told, self._told_at = str(error), now
        elif now - self._told_at > _REPEAT:
            logger.warning("%s waits for %.0f s, %d tries: %s", self._name, now - self._since, self._tries, error)
            self._told_at = now
        wait = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 jitter needs no secrecy
        self._wait = min(self._wait * 2, _LONGEST_WAIT)
        return wait


def supervise(
    work: Callable[[Stop], None], stop: Stop, *, name: str, passing: tuple[type[Exception], ...] = PASSING
) -> None:
    """Run `work` until it returns. When the database or the broker is away, say so once, wait, and run it again.

    `passing` are the errors that are waited for.
    """
    waits = Waits(name)
    while not stop.is_set():
        started = time.monotonic()
        try:
            work(stop)
        except passing as error:
            stop.wait(waits.failed(error, worked=time.monotonic() - started))
        else:
            return
