"""Keeps the open pages live: one thread a process reads the changes, keeps the trends, and wakes the browsers.

It runs for some minutes after each request of a page, so a page without visitors costs the database nothing.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eventkit.errors import EventkitError
from eventkit.web.answers import Answers
from eventkit.web.rendering.charts import Sample

logger = logging.getLogger("eventkit.web")

_INTERVAL = 2.0  # seconds
_KEPT = 3.0  # seconds for which visitors get the refresher's last answer
_END_TIMEOUT = 6.0  # seconds; a statement ends after five
_SAMPLE_EVERY = 5.0  # seconds between two points of a trend
_SAMPLES = 720  # an hour
_UNWATCHED_AFTER = 900.0  # seconds without a request
_PROJECTIONS = 50  # projections with a trend
_Alarm = tuple[asyncio.AbstractEventLoop, asyncio.Event]


@dataclass(frozen=True, slots=True)
class Pulse:
    """One refresh: its number, and the counts in the navigation; `problem` where the database did not answer."""

    number: int = 0
    critical: int = 0
    warnings: int = 0
    problem: str | None = None


class Refresher:
    """The thread, the trends that it keeps, and the browsers that it wakes."""

    def __init__(self, answers: Answers) -> None:
        self.pulse = Pulse()
        self._answers = answers
        self._trends: dict[str, deque[Sample]] = {}
        self._alarms: set[_Alarm] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._seen = 0.0
        self._sampled = 0.0

    def watched(self) -> None:
        """Note a request; start the thread if it does not run."""
        self._seen = time.monotonic()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="eventkit web refresher", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread, and wait some seconds for it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_END_TIMEOUT)

    def trend(self, name: str) -> list[Sample]:
        """Return the samples of a trend, at most an hour of them."""
        return list(self._trends.get(name, ()))

    @contextmanager
    def waking(self) -> Iterator[asyncio.Event]:
        """Lend an event of the running loop that is set at each refresh."""
        alarm = (asyncio.get_running_loop(), asyncio.Event())
        self._alarms.add(alarm)
        try:
            yield alarm[1]
        finally:
            self._alarms.discard(alarm)

    def _run(self) -> None:
        while time.monotonic() - self._seen < _UNWATCHED_AFTER:
            self._refresh()
            for loop, event in tuple(self._alarms):
                try:
                    loop.call_soon_threadsafe(event.set)
                except RuntimeError:  # the loop has ended
                    self._alarms.discard((loop, event))
            if self._ended.wait(_INTERVAL):
                return

    def _refresh(self) -> None:
        number = self.pulse.number + 1
        try:
            found = self._answers.renew(lambda insights: insights.attention(), "attention", seconds=_KEPT)
            if time.monotonic() - self._sampled >= _SAMPLE_EVERY:
                self._sample()
        except EventkitError as error:
            self.pulse = Pulse(number, problem=str(error))
        except Exception as error:
            if self.pulse.problem is None:  # once, until it succeeds
                logger.exception("the page's refresher failed: open pages show old values until it succeeds")
            self.pulse = Pulse(number, problem=type(error).__name__)
        else:
            critical = sum(item.urgency == "critical" for item in found)
            self.pulse = Pulse(number, critical, len(found) - critical)

    def _sample(self) -> None:
        self._sampled = time.monotonic()
        relay = self._answers.ask(lambda insights: insights.relay(), "relay")
        page = self._answers.ask(lambda insights: insights.projections(limit=_PROJECTIONS), "projections", None)
        self._keep("relay", float(relay.unsent.value))
        for projection in page.items:
            self._keep(f"projection {projection.name}", projection.lag_seconds)

    def _keep(self, name: str, value: float | None) -> None:
        self._trends.setdefault(name, deque(maxlen=_SAMPLES)).append((time.time(), value))
