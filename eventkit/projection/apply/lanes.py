"""Applies parts of a batch at the same time, where handlers are `async def`: each part in a transaction of its own.

A stream is in one part, so its order is kept. A lane is a connection with all that applies on it, used by one thread at
a time; handlers of all lanes share the process's event loop. With one lane nothing here starts a thread. What becomes
of parts that fail is decided by the projector's own thread, one part after the other.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from eventkit.projection.apply.applier import BatchApplier, Stopped
from eventkit.projection.batch import Run
from eventkit.projection.counters import Counters
from eventkit.projection.reached import Reached

Again = Callable[[Callable[[], list[Stopped]]], list[Stopped]]
Lane = tuple[BatchApplier, Again]
Part = Sequence[Run]


class Attempt:
    """A part that one lane has applied, or has failed to apply."""

    def __init__(self, part: Part) -> None:
        """Attempt nothing yet."""
        self.part = part
        self.counted = Counters()
        self._stopped: list[Stopped] = []
        self._error: BaseException | None = None

    def make(self, work: Callable[[], list[Stopped]]) -> None:
        """Apply the part, and keep the outcome."""
        try:
            self._stopped = work()
        except BaseException as error:  # noqa: BLE001 raised by `result`, on the projector's thread
            self._error = error

    def result(self) -> list[Stopped]:
        """Return the runs that did not advance; raise what has made it fail."""
        if self._error is not None:
            raise self._error
        return self._stopped


class Lanes:
    """The lanes of one projector; the first one is its own connection."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        """Apply on each of these, within its `again`, which tries a transaction again after a deadlock and the like."""
        self._lanes = lanes
        self._most = lanes[0][0].projection.batch  # messages in a transaction
        self.handlers = lanes[0][0].projection.handlers

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._lanes)

    def parts(self, runs: Sequence[Run]) -> list[Part]:
        """Part runs so that all lanes have work and no part has more messages than share a transaction."""
        if len(self._lanes) == 1:
            return [runs] if runs else []
        messages = sum(len(run.arrivals) for run in runs)
        return packed(runs, most=min(self._most, math.ceil(messages / len(self._lanes))))

    def take(self, parts: list[Part]) -> tuple[list[Part], list[Part]]:
        """Return the parts that are applied next, and the others: one lane takes the last alone."""
        return (parts, []) if len(self._lanes) > 1 else (parts[-1:], parts[:-1])

    def attempts(self, parts: Sequence[Part], *, reached: Reached | None, around_locks: bool) -> list[Attempt]:
        """Apply parts, as many at a time as there are lanes; return all when all have ended."""
        attempts = [Attempt(part) for part in parts]
        waiting = deque(attempts)
        way: dict[str, Any] = {"reached": reached, **({"around_locks": True} if around_locks else {})}
        threads = [
            threading.Thread(target=self._work, args=(lane, waiting, way), daemon=True)
            for lane in self._lanes[1 : len(parts)]
        ]
        for thread in threads:
            thread.start()
        self._work(self._lanes[0], waiting, way)
        for thread in threads:
            thread.join()
        return attempts

    def _work(self, lane: Lane, waiting: "deque[Attempt]", way: dict[str, Any]) -> None:
        while waiting:
            try:
                attempt = waiting.popleft()
            except IndexError:  # another lane has taken it
                return
            applier, again = lane
            attempt.make(partial(again, partial(applier.apply, attempt.part, attempt.counted, **way)))


def packed(runs: Iterable[Run], *, most: int) -> list[Part]:
    """Put runs together up to so many messages; a longer run is alone."""
    parts: list[list[Run]] = []
    room = 0
    for run in runs:
        if not parts or len(run.arrivals) > room:
            parts.append([])
            room = most
        parts[-1].append(run)
        room -= len(run.arrivals)
    return list(parts)


def waves(runs: Sequence[Run], *, most: int) -> list[list[Run]]:
    """Cut runs so that each wave has at most so many messages of a stream; a later wave follows an earlier one."""
    longest = max((len(run.arrivals) for run in runs if run.whole), default=0)
    if longest <= most:
        return [list(runs)]
    found: list[list[Run]] = []
    for first in range(0, longest, most):
        wave = [Run(run.stream, run.arrivals[first : first + most]) for run in runs if run.whole]
        found.append([run for run in wave if run.arrivals])
    found[0] += [run for run in runs if not run.whole]
    return found
