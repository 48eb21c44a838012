"""Whether the loops of this process still move: each notes its wait before it blocks.

    with loop("relay"):                      the thread's loop is watched from here on
        with waiting_for("the database"):    it may last as long as it likes
            connection.execute(...)

A loop is stuck if it has been outside of any wait for longer than `WORK_LIMIT`, or inside one for longer than the
wait's own limit. The time counts from the last begin or end of a wait, so each statement of a handler begins its limit
anew. A wait without a limit is never stuck: a frozen PostgreSQL blocks its driver for ever, and restarting this process
would not help. Threads without a loop note nothing, at the cost of one lookup.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import NamedTuple

from eventkit.forks import reset_in_fork

WORK_LIMIT = 30.0  # seconds without any wait
_WORK = "its own work"


class LoopState(NamedTuple):
    """The wait of a loop, its limit in seconds (None: without one), and its begin on the monotonic clock."""

    waits_for: str
    limit: float | None
    since: float


class LoopReport(NamedTuple):
    """The state of one loop, for an operator."""

    loop: str
    waits_for: str
    seconds: float
    limit: float | None

    @property
    def is_stuck(self) -> bool:
        """Whether it has taken longer than it may."""
        return self.limit is not None and self.seconds > self.limit


class _Loop:
    """A watched loop; `state` is replaced as a whole, because another thread reads it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = LoopState(_WORK, WORK_LIMIT, monotonic())


class _Loops:
    """The watched loops of this process."""

    def __init__(self) -> None:
        self.running: set[_Loop] = set()
        self.lock = threading.Lock()
        self.own = threading.local()
        reset_in_fork(self)

    def forked(self) -> Callable[[], None] | None:
        """Watch none of the parent's loops: their threads do not exist here."""
        self.running, self.lock, self.own = set(), threading.Lock(), threading.local()
        return None


_loops = _Loops()


@contextmanager
def loop(name: str) -> Iterator[None]:
    """Watch the loop of this thread inside this context."""
    outer = getattr(_loops.own, "loop", None)
    watched = _loops.own.loop = _Loop(name)
    with _loops.lock:
        _loops.running.add(watched)
    try:
        yield
    finally:
        with _loops.lock:
            _loops.running.discard(watched)
        _loops.own.loop = outer


class waiting_for:  # noqa: N801 it reads as a statement, and a generator would cost three times as much
    """Note inside this context that the thread's loop waits, for `seconds` at most; None: for as long as it takes."""

    __slots__ = ("_limit", "_loop", "_outer", "_what")

    def __init__(self, what: str, *, seconds: float | None = None) -> None:
        self._what = what
        self._limit = seconds

    def __enter__(self) -> None:
        found = self._loop = getattr(_loops.own, "loop", None)
        if found is not None:
            self._outer = found.state
            found.state = LoopState(self._what, self._limit, monotonic())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.state = LoopState(self._outer.waits_for, self._outer.limit, monotonic())


def report() -> list[LoopReport]:
    """Return the state of each loop, by name."""
    with _loops.lock:
        running = list(_loops.running)
    now = monotonic()
    states = [(each.name, each.state) for each in running]
    return sorted(LoopReport(name, state.waits_for, now - state.since, state.limit) for name, state in states)
