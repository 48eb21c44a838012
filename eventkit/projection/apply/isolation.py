"""Applies a batch whatever is in its way: by halves where streams fail together, around what others have locked.

No savepoints: one a stream trebles the cost of all, while failures are rare. A failed transaction is rolled back and
all it loaded is forgotten. What fails alone gets a second look (`culprit`). What another transaction has locked, and
what a handler cannot be called for, is set aside (`aside`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from eventkit.projection.apply.applier import BatchApplier, Stopped
from eventkit.projection.apply.duplicates import Doubt
from eventkit.projection.apply.failures import Away, Failed, Locked
from eventkit.projection.apply.set_aside import SetAside
from eventkit.projection.batch import Run
from eventkit.projection.counters import Counters
from eventkit.projection.define.dispatch import step_of
from eventkit.projection.reached import Reached

logger = logging.getLogger("eventkit.projection")

_MOST_LOCKS = 20  # that a batch waits for when it goes around them, 50 ms each: it finds a locked stream at least

Again = Callable[[Callable[[], list[Stopped]]], list[Stopped]]


class SortedOut(msgspec.Struct):
    """Runs that did not advance."""

    left: list[Run] = msgspec.field(default_factory=list)  # need a second look
    ahead: list[Run] = msgspec.field(default_factory=list)  # the parts that follow their checkpoint
    doubts: list[Doubt] = msgspec.field(default_factory=list)  # below their checkpoint, and not known to be duplicates

    def add(self, other: "SortedOut") -> None:
        """Take others up."""
        self.left += other.left
        self.ahead += other.ahead
        self.doubts += other.doubts


class BatchIsolation:
    """The batches of one projector."""

    def __init__(
        self, applying: BatchApplier, again: Again, wait: Callable[[Away], bool], *, aside: SetAside | None
    ) -> None:
        """Work through `again`; `wait` waits for what is away where there is no `aside`, and says whether to stop."""
        self._applying = applying
        self._again = again
        self._wait = wait
        self._aside = aside
        self._name = applying.projection.name

    def apply(self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None) -> SortedOut:
        """Apply runs, in parts where they fail together; return those that did not advance, and are not set aside.

        The second part of a batch that fails is applied after the first. Where other transactions' locks are in the
        way, the batch goes around them and waits for twenty at most: streams that are locked, and those that were not
        tried by then, are set aside.
        """
        found, parts, met = SortedOut(), [runs] if runs else [], 0
        while parts:
            part = parts.pop()
            around = self._aside is not None and self._aside.around_locks
            if around and met >= _MOST_LOCKS:
                self.set_aside(part, tried=False)
                continue
            way = {"around_locks": True} if around else {}
            try:
                applied = partial(self._applying.apply, part, done, reached=reached, **way)
                found.add(self._sorted(self._again(applied), done))
            except Away as away:
                if self._aside is None and self._wait(away):
                    found.left += part
                else:
                    parts += [ready] if (ready := self._ready(part, away)) else []
            except Locked:
                met += around
                parts += self._after_lock(part, around=around)
            except Failed as failure:
                logger.debug("%d streams of %s fail together: %s", len(part), self._name, failure)
                if len(part) == 1:
                    found.left += part
                else:
                    parts += _halves(part)
            reached = None
        return found

    def _sorted(self, stopped: Sequence[Stopped], done: Counters) -> SortedOut:
        locked = [item.run for item in stopped if item.locked]
        if locked:
            self.set_aside(locked)
        return sort_out([item for item in stopped if not item.locked], done)

    def _after_lock(self, part: Sequence[Run], *, around: bool) -> list[Sequence[Run]]:
        """Return the parts to be tried after one has met a lock; a single stream that meets one is set aside."""
        assert self._aside is not None, "else a lock is waited for"  # noqa: S101
        self._aside.met_lock()
        if not around:
            return [part]
        if len(part) > 1:
            return _halves(part)
        self.set_aside(part)
        return []

    def set_aside(self, runs: Sequence[Run], *, tried: bool = True) -> None:
        """Let streams wait for others' locks; those that were not `tried` may be free."""
        assert self._aside is not None, "else a lock is waited for"  # noqa: S101
        for run in runs:
            self._aside.add_locked(run, tried=tried)

    def _ready(self, runs: Sequence[Run], away: Away) -> Sequence[Run]:
        """Return what can be applied while something is away."""
        if self._aside is None:
            return runs
        self._aside.breakers.failed(away.error)
        ready = self._aside.sort_out(runs)
        step = step_of(away.error)
        if step is not None and step.stream in self._aside:
            self._aside.failed(step.stream)
        return ready


def sort_out(stopped: Iterable[Stopped], done: Counters) -> SortedOut:
    """Count plain duplicates, and sort the other runs."""
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
    """Return the halves, the first one last: it is taken first."""
    middle = len(runs) // 2
    return [runs[middle:], runs[:middle]]
