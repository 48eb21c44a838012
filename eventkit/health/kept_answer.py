"""Questions to a database or a broker that may never answer: asked on a thread of their own, answered from a cache.

A probe waits a moment for the first answer, and later gets the last one while a new one is under way. A server that
hangs holds one thread for each question, however many probes come.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from eventkit.errors import EventkitError
from eventkit.observability.plain import one_line

T = TypeVar("T")
logger = logging.getLogger("eventkit.health")

FRESH = 2.0  # seconds for which an answer is not asked for again
STALE = 6.0  # seconds for which an answer counts while the next one is under way
ANSWER_WAIT = 0.7  # seconds that a probe waits: an orchestrator waits for a second by default


class Unanswered(Exception):
    """A question without an answer; the text says why."""


class KeptAnswer(Generic[T]):
    """The answer to one question, kept for a few seconds."""

    def __init__(
        self, ask: Callable[[], T], *, fresh: float = FRESH, stale: float = STALE, patience: float = ANSWER_WAIT
    ) -> None:
        """`ask` returns the answer or raises; it may never return. All times are in seconds.

        An answer is `fresh` at first, then it counts until it is `stale`; `patience` is the wait for one.
        """
        self._ask = ask
        self._fresh = fresh
        self._stale = stale
        self._patience = patience
        self._lock = threading.Lock()
        self._answer: T | None = None
        self._reason = ""  # of the last failure, empty after an answer
        self._answered_at = float("-inf")
        self._asked_at = float("-inf")
        self._under_way: threading.Event | None = None

    def begin(self) -> None:
        """Ask again unless the last answer is fresh, or the question is under way; return at once."""
        with self._lock:
            now = time.monotonic()
            if self._under_way is not None or now - self._answered_at < self._fresh:
                return
            self._under_way, self._asked_at = threading.Event(), now
            threading.Thread(target=self._run, args=(self._under_way,), name="health question", daemon=True).start()

    def get(self) -> T:
        """Return the answer; raise Unanswered with the reason when it fails or takes too long."""
        self.begin()
        with self._lock:
            under_way, waited = self._under_way, time.monotonic() - self._asked_at
            is_usable = time.monotonic() - self._answered_at < self._stale
        if under_way is not None and not is_usable:
            under_way.wait(max(0.0, self._patience - waited))
        with self._lock:
            return self._latest()

    def _latest(self) -> T:
        now = time.monotonic()
        if now - self._answered_at >= self._stale:
            raise Unanswered(f"no answer for {now - self._asked_at:.1f} s")
        if self._answer is None:
            raise Unanswered(self._reason)
        return self._answer

    def _run(self, under_way: threading.Event) -> None:
        answer, reason = None, ""
        try:
            answer = self._ask()
        except EventkitError as error:
            reason = one_line(str(error))
        except Exception as error:
            reason = f"unexpected {type(error).__name__}"
            logger.debug("a question of the health endpoint has failed", exc_info=error)
        with self._lock:
            self._answer, self._reason, self._answered_at, self._under_way = answer, reason, time.monotonic(), None
        under_way.set()
