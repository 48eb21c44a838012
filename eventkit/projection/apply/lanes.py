"""Applies parts of a batch concurrently, each in a transaction of its own, where handlers are `async def`.

A stream is in one part, so its order is kept. A lane is a connection with its own `BatchApplier`, used by one thread at
a time; the handlers of all lanes share the process's event loop. A single lane starts no thread. The projector's own
thread handles failed parts, one after the other.
"""

import contextvars
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from eventkit.observability.liveness import loop, waiting_for
from eventkit.projection.apply.applier import Stopped
from eventkit.projection.apply.transaction_retry import TransactionRetry
from eventkit.projection.batch import Run
from eventkit.projection.counters import Counters
from eventkit.projection.reached import Reached

Part = Sequence[Run]


class Attempt:
    """A part that one lane has applied, or has failed to apply."""

    def __init__(self, part: Part) -> None:
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
        """Return the runs that did not advance; raise the error of a failed part."""
        if self._error is not None:
            raise self._error
        return self._stopped


class Lanes:
    """The lanes of one projector; the first one is its own connection."""

    def __init__(self, lanes: Sequence[TransactionRetry]) -> None:
        """Apply on each lane's connection; all lanes have the same projection."""
        self._lanes = lanes
        self._most = lanes[0].applier.projection.batch  # messages in a transaction
        self.handlers = lanes[0].applier.projection.handlers

    def __len__(self) -> int:
        return len(self._lanes)

    def parts(self, runs: Sequence[Run]) -> list[Part]:
        """Split runs into parts, so that all lanes have work and no part exceeds the batch size."""
        if len(self._lanes) == 1:
            return [runs] if runs else []
        messages = sum(len(run.arrivals) for run in runs)
        return packed(runs, most=min(self._most, math.ceil(messages / len(self._lanes))))

    def take(self, parts: list[Part]) -> tuple[list[Part], list[Part]]:
        """Return the parts to apply next, and the others; a single lane takes the last part only."""
        return (parts, []) if len(self._lanes) > 1 else (parts[-1:], parts[:-1])

    def attempts(self, parts: Sequence[Part], *, reached: Reached | None, around_locks: bool) -> list[Attempt]:
        """Apply parts, as many at a time as there are lanes; return all attempts when all have ended."""
        attempts = [Attempt(part) for part in parts]
        waiting = deque(attempts)
        options: dict[str, Any] = {"reached": reached, **({"around_locks": True} if around_locks else {})}
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run, args=(self._work_beside, lane, waiting, options), daemon=True
            )  # the batch's span is the current one in every lane
            for lane in self._lanes[1 : len(parts)]
        ]
        for thread in threads:
            thread.start()
        self._work(self._lanes[0], waiting, options)
        with waiting_for("the other lanes"):
            for thread in threads:
                thread.join()
        return attempts

    def _work_beside(self, lane: TransactionRetry, waiting: "deque[Attempt]", options: dict[str, Any]) -> None:
        with loop(f"lane of {lane.applier.projection.name}"):
            self._work(lane, waiting, options)

    def _work(self, lane: TransactionRetry, waiting: "deque[Attempt]", options: dict[str, Any]) -> None:
        while waiting:
            try:
                attempt = waiting.popleft()
            except IndexError:  # another lane has taken it
                return
            attempt.make(partial(lane.run, partial(lane.applier.apply, attempt.part, attempt.counted, **options)))


def packed(runs: Iterable[Run], *, most: int) -> list[Part]:
    """Group runs up to `most` messages; a longer run is alone."""
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
    """Cut runs into waves of at most `most` messages of a stream, to be applied in order."""
    longest = max((len(run.arrivals) for run in runs if run.whole), default=0)
    if longest <= most:
        return [list(runs)]
    found: list[list[Run]] = []
    for first in range(0, longest, most):
        wave = [Run(run.stream, run.arrivals[first : first + most]) for run in runs if run.whole]
        found.append([run for run in wave if run.arrivals])
    found[0] += [run for run in runs if not run.whole]
    return found
