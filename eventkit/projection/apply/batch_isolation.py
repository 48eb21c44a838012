"""Isolates failing streams of a batch: a part that fails is split in halves until one stream fails alone.

There are no savepoints: one for each stream trebles the cost of a batch, while failures are rare. A failed transaction
is rolled back whole. A stream that fails alone goes to `event_isolation`. Streams are set aside (`SetAside`) while
other transactions lock them, or while a service that their handler calls is away.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from eventkit.errors import TryLater
from eventkit.projection.apply.applier import Stopped
from eventkit.projection.apply.duplicates import Doubt
from eventkit.projection.apply.lanes import Attempt, Lanes, Part
from eventkit.projection.batch import Run
from eventkit.projection.counters import Counters
from eventkit.projection.dispatch import step_of
from eventkit.projection.failure import Away, Breaker, Failed, Locked, SetAside
from eventkit.projection.reached import Reached

logger = logging.getLogger("eventkit.projection")

_MAX_LOCK_WAITS = 20  # of 50 ms each in a batch, enough to find a locked stream by halving


class SortedOut(msgspec.Struct):
    """Runs that did not advance."""

    left: list[Run] = msgspec.field(default_factory=list)  # need a repair
    ahead: list[Run] = msgspec.field(default_factory=list)  # the parts right above their checkpoint
    doubts: list[Doubt] = msgspec.field(default_factory=list)  # below their checkpoint, perhaps duplicates
    failed: list[tuple[Run, Failed]] = msgspec.field(default_factory=list)  # single events, each with its failure

    def add(self, other: "SortedOut") -> None:
        self.left += other.left
        self.ahead += other.ahead
        self.doubts += other.doubts
        self.failed += other.failed


class BatchIsolation:
    """Applies the batches of one projector, and isolates the streams that fail."""

    def __init__(self, name: str, lanes: Lanes, wait: Callable[[Away], bool], *, set_aside: SetAside | None) -> None:
        """Apply on lanes; without `set_aside`, `wait` pauses before a retry and returns whether to stop."""
        self._lanes = lanes
        self._wait = wait
        self._set_aside = set_aside
        self._name = name

    def apply(self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None) -> SortedOut:
        """Apply runs, in halves after a failure; return those that neither advanced nor were set aside.

        The first half is applied before the second. Once other transactions' locks are expected, each part skips
        locked streams. After twenty lock timeouts the remaining streams are set aside untried.
        """
        found, parts, met = SortedOut(), self._lanes.parts(runs), 0
        reached = reached if len(parts) == 1 else None
        while parts:
            around = self._set_aside is not None and self._set_aside.around_locks
            if around and met >= _MAX_LOCK_WAITS:
                self.add_locked(parts.pop(), tried=False)
                continue
            taken, parts = self._lanes.take(parts)
            for attempt in self._lanes.attempts(taken, reached=reached, around_locks=around):
                outcome = self._outcome(attempt, done, around=around)
                found.add(outcome.found)
                parts += outcome.again
                met += around and outcome.met_lock
            reached = None
        return found

    def _outcome(self, attempt: Attempt, done: Counters, *, around: bool) -> "Outcome":
        """Return the outcome of one part."""
        part = attempt.part
        try:
            stopped = attempt.result()
            self._record_successes(part, stopped)
            found = self._sorted(stopped, done)
        except Away as away:
            if self._set_aside is None and self._wait(away):
                return Outcome(SortedOut(left=list(part)))
            ready = self._ready(part, away)
            return Outcome(again=[ready] if ready else [])
        except Locked:
            return Outcome(again=self._after_lock(part, around=around), met_lock=True)
        except Failed as failure:
            logger.debug("%d streams of %s fail together: %s", len(part), self._name, failure)
            return self._after_failure(part, failure)
        done += attempt.counted
        return Outcome(found)

    @staticmethod
    def _after_failure(part: Part, failure: Failed) -> "Outcome":
        """Return the halves to try next; a single event whose handler raised the error has failed alone."""
        if len(part) > 1:
            return Outcome(again=_halves(part))
        if len(part[0].arrivals) == 1 and step_of(failure.error):
            return Outcome(SortedOut(failed=[(part[0], failure)]))
        return Outcome(SortedOut(left=list(part)))

    def _sorted(self, stopped: Sequence[Stopped], done: Counters) -> SortedOut:
        locked = [item.run for item in stopped if item.locked]
        if locked:
            self.add_locked(locked)
        return sort_out([item for item in stopped if not item.locked], done)

    def _after_lock(self, part: Sequence[Run], *, around: bool) -> list[Sequence[Run]]:
        """Return the parts to try after a lock timeout; a single locked stream is set aside."""
        assert self._set_aside is not None, "without it, locks are waited for"  # noqa: S101
        self._set_aside.met_lock()
        if not around:
            return [part]
        if len(part) > 1:
            return _halves(part)
        self.add_locked(part)
        return []

    def add_locked(self, runs: Sequence[Run], *, tried: bool = True) -> None:
        """Set streams aside until others' locks are released; those that were not `tried` may be unlocked."""
        assert self._set_aside is not None, "without it, locks are waited for"  # noqa: S101
        for run in runs:
            self._set_aside.add_locked(run, tried=tried)

    def _ready(self, runs: Sequence[Run], away: Away) -> Sequence[Run]:
        """Return the runs that can be applied while a called service is away."""
        step = step_of(away.error)
        if self._set_aside is None or step is None:
            return runs
        breaker = self._set_aside.breakers.failed(away.error)
        ready = self._set_aside.sort_out(runs)
        if breaker.is_open:
            if step.stream in self._set_aside:
                self._set_aside.failed(step.stream)
            return ready
        for run in (run for run in ready if run.stream == step.stream):
            self._set_aside.add(run, step.handler)
            self._set_aside.failed(run.stream, pause=pause_of(away.error, breaker))
        return [run for run in ready if run.stream != step.stream]

    def _record_successes(self, runs: Sequence[Run], stopped: Sequence[Stopped]) -> None:
        """Close the breakers of handlers that have processed events."""
        if self._set_aside is not None and self._set_aside.breakers:
            left = {item.run.stream for item in stopped}
            processed = (arrival for run in runs if run.stream not in left for arrival in run.arrivals)
            self._set_aside.breakers.succeeded(self._lanes.handlers, processed)


def pause_of(error: Exception, breaker: Breaker) -> float:
    """Return how many seconds a stream waits after a service was away, while the breaker is closed."""
    return error.seconds if isinstance(error, TryLater) else breaker.handler.retry.backoff.pause(breaker.tries)


class Outcome(msgspec.Struct):
    """The outcome of one part."""

    found: SortedOut = msgspec.field(default_factory=SortedOut)
    again: list[Part] = msgspec.field(default_factory=list)  # parts to try next
    met_lock: bool = False


def sort_out(stopped: Iterable[Stopped], done: Counters) -> SortedOut:
    """Count plain duplicates, and sort the other runs by their checkpoints."""
    found = SortedOut()
    for item in stopped:
        run, checkpoint = item.run, item.checkpoint
        if checkpoint is None or checkpoint.parked or not run.contains(checkpoint.version, checkpoint.event_id):
            found.left.append(run)
            continue
        if run.is_below(checkpoint.version):
            found.doubts.append(Doubt(checkpoint, run.arrivals))
            continue
        rest = run.above(checkpoint.version)
        done.duplicates += len(run.arrivals) - len(rest.arrivals)
        if rest.arrivals:
            found.ahead.append(rest)
    return found


def _halves(runs: Sequence[Run]) -> list[Sequence[Run]]:
    """Return the halves; the first is last in the list, which is taken from its end."""
    middle = len(runs) // 2
    return [runs[middle:], runs[:middle]]
