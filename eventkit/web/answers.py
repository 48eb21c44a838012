"""Answers of `Insights`, kept for a second, so that the load on the database does not grow with the visitors.

A failure is kept for some seconds. So while the database hangs, other visitors see the error at once.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import psycopg
from starlette.exceptions import HTTPException

from eventkit.errors import DatabaseUnavailable
from eventkit.insights import Insights
from eventkit.storage.db import first_line
from eventkit.web.sessions import BUSY_AFTER, Sessions, busy

T = TypeVar("T")

_FRESH = 1.0  # seconds
_FAILED = 3.0  # seconds
_KEPT = 256  # answers


class _Answer:
    """The last answer to a question; its lock lets one visitor at a time ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self.value: Any = None
        self.problem: str | None = None

    def keep(self, value: Any, *, seconds: float) -> None:  # noqa: ANN401 of any question
        self.value, self.problem, self.until = value, None, time.monotonic() + seconds

    def fail(self, problem: str) -> None:
        self.problem, self.until = problem, time.monotonic() + _FAILED

    def check(self) -> None:
        """Raise DatabaseUnavailable while a failure is new."""
        problem = self.problem
        if problem is not None and time.monotonic() < self.until:
            raise DatabaseUnavailable(problem)


class Answers:
    """Asks each question at most once a second."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Insights], T], *key: Hashable) -> T:
        """Return the answer to a question; `key` identifies it. Raise DatabaseUnavailable if another visitor hangs."""
        answer = self._place(key)
        answer.check()
        if not answer.lock.acquire(timeout=BUSY_AFTER):
            problem = busy("question")
            answer.fail(str(problem))
            raise problem
        try:
            answer.check()
            if time.monotonic() >= answer.until:
                self._fill(answer, question)
            value: T = answer.value
            return value
        finally:
            answer.lock.release()

    def renew(self, question: Callable[[Insights], T], *key: Hashable, seconds: float) -> T:
        """Ask now, and keep the answer for some seconds."""
        value = self.ask_now(question)
        self._place(key).keep(value, seconds=seconds)
        return value

    def ask_now(self, question: Callable[[Insights], T]) -> T:
        """Return the answer of this moment; raise HTTPException where the question cannot be asked."""
        with self._sessions.reading() as session:
            try:
                return question(Insights(session, self._sessions.schema))
            except ValueError as error:  # the visitor has changed the key of a page
                raise HTTPException(400, str(error)) from error
            except psycopg.DataError as error:  # a number that is too large, or a text that PostgreSQL does not take
                raise HTTPException(400, f"a value of this address cannot be read: {first_line(error)}") from error

    def forget(self) -> None:
        """Ask anew from now on: an action has changed something."""
        with self._lock:
            self._answers.clear()

    def _fill(self, answer: _Answer, question: Callable[[Insights], Any]) -> None:
        try:
            answer.keep(self.ask_now(question), seconds=_FRESH)
        except DatabaseUnavailable as error:
            answer.fail(str(error))
            raise

    def _place(self, key: Hashable) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
            return answer
