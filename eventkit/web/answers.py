"""Answers of the insights room, kept for a second: the load on the database does not grow with the visitors."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from eventkit.insights import Insights
from eventkit.web.sessions import Sessions

T = TypeVar("T")

_FRESH = 1.0  # seconds
_KEPT = 256  # answers


class _Answer:
    """The last answer to a question; its lock lets one visitor at a time ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self.value: Any = None


class Answers:
    """Asks each question at most once a second."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Insights], T], *key: Hashable) -> T:
        """Return the answer to a question; `key` identifies it."""
        answer = self._place(key)
        with answer.lock:
            if time.monotonic() >= answer.until:
                answer.value = self.ask_now(question)
                answer.until = time.monotonic() + _FRESH
            value: T = answer.value
            return value

    def renew(self, question: Callable[[Insights], T], *key: Hashable, seconds: float) -> T:
        """Ask now, and keep the answer for some seconds."""
        value = self.ask_now(question)
        answer = self._place(key)
        answer.value, answer.until = value, time.monotonic() + seconds
        return value

    def ask_now(self, question: Callable[[Insights], T]) -> T:
        """Return the answer of this moment; raise HTTPException where the question cannot be asked."""
        with self._sessions.reading() as session:
            try:
                return question(Insights(session, self._sessions.schema))
            except ValueError as error:  # a key of a page that somebody has changed
                raise HTTPException(400, str(error)) from error

    def forget(self) -> None:
        """Ask anew from now on: an action has changed something."""
        with self._lock:
            self._answers.clear()

    def _place(self, key: Hashable) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
            return answer
