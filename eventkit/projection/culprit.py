"""Applies runs of events whatever they do: finds the event that fails, by halves, by stream, then within its stream.

No savepoints: one a stream trebles the cost of all, while failures are rare. A failed transaction is rolled back and
all it loaded is forgotten. What fails alone is tried again with a growing pause, then parked with its stream; what is
another transaction's or the server's fault never is.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from eventkit.errors import ConcurrencyError, DatabaseUnavailable
from eventkit.projection.applying import Applying, Stopped
from eventkit.projection.arrival import Run
from eventkit.projection.blame import Blame, blame, cause_of, detail, said, translated
from eventkit.projection.counters import Counters
from eventkit.projection.doubts import Doubt, Kind
from eventkit.projection.letters import Why
from eventkit.projection.second_look import PAGE, SecondLook
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

T = TypeVar("T")
RIVALS = 8  # deadlocks and the like in a row, before the connection is thrown away


class Failed(Exception):  # not an error of ours: it carries one of the handlers'
    """A transaction was rolled back for something an event did."""

    def __init__(self, error: Exception) -> None:
        """Carry the error; this one's message is for logs, so it says no more than may be said anywhere."""
        super().__init__(said(error))
        self.error = error


class Culprits:
    """The way from a batch to its second looks."""

    def __init__(self, applying: Applying, second: SecondLook, stop: Stop) -> None:
        """Work on the connection that both share; pauses end when `stop` is set."""
        self._applying = applying
        self._second = second
        self._stop = stop
        self._name = applying.projection.name

    def apply(self, runs: Sequence[Run], done: Counters, *, position: int | None = None) -> list[Run]:
        """Apply whole runs, one a stream; return those that need a second look."""
        sorted_out = self._halve(runs, done, position=position)
        left, doubts = sorted_out.left, sorted_out.doubts
        if sorted_out.ahead:  # their first events had been applied already, the rest can go together
            late = self._halve(sorted_out.ahead, done)
            left += [*late.left, *late.ahead]
            doubts += late.doubts
        return left + self._judge(doubts, done) if doubts else left

    def look(self, run: Run, done: Counters, *, redrive: bool = False) -> bool:
        """Look at a stream until nothing is left to do; False when asked to stop while an event had chances left."""
        left: Run | None = run
        limit, attempts = PAGE, 0
        while left is not None:
            current = left
            looking = partial(self._second.look, current, done, limit=limit, redrive=redrive)
            try:
                left = self.again(looking)
                limit, attempts = min(PAGE, 2 * limit), 0
            except Failed as failure:
                if len(self._second.trying) != 1:
                    limit = self._smaller(failure)
                    continue
                attempts += 1
                if self._has_chances(failure, attempts):
                    if self._stop.wait(_backoff(attempts)):
                        return False  # nothing is decided: it comes again
                    continue
                left = self._park(current, failure, done, attempts)
                limit, attempts = PAGE, 0
        return True

    def again(self, work: Callable[[], T]) -> T:
        """Do something in a transaction; again after a deadlock and the like. Failed when an event is to blame."""
        lost: Exception | None = None
        for attempt in range(1, RIVALS + 1):
            try:
                return work()
            except Exception as error:
                whose = blame(error)
                if whose is Blame.EVENT:
                    raise Failed(error) from error
                if whose is not Blame.RIVAL:
                    raise translated(error) from error
                lost = error
                logger.info("%s tries again, nobody is to blame: %s", self._name, str(error).strip().partition("\n")[0])
                self._stop.wait(_backoff(attempt) / 10)
        if isinstance(lost, ConcurrencyError):  # nobody wins that often: a handler expects what will never be
            raise Failed(lost) from lost
        raise DatabaseUnavailable(
            f"{self._name} lost {RIVALS} times in a row to other transactions (deadlocks or lock timeouts)"
        )

    def certainly(self, work: Callable[[], T]) -> T:
        """Do something in a transaction that applies no event: what it raises is what it says."""
        try:
            return self.again(work)
        except Failed as failure:
            raise failure.error from None

    def _judge(self, doubts: Sequence[Doubt], done: Counters) -> list[Run]:
        """Count messages below their checkpoints; return those that a second look parks as forks."""
        forks: list[Run] = []
        for doubt, verdict in zip(doubts, self.certainly(lambda: self._second.judge(doubts)), strict=True):
            if verdict.kind is Kind.FORK:
                forks.append(Run(doubt.checkpoint.stream, list(doubt.arrivals)))
            elif verdict.kind is Kind.UNKNOWN:
                done.unknown += len(doubt.arrivals)
            else:
                done.duplicates += len(doubt.arrivals)
        return forks

    def _halve(self, runs: Sequence[Run], done: Counters, *, position: int | None = None) -> "SortedOut":
        """Apply runs, by halves where they fail; return those that did not advance."""
        if not runs:
            return SortedOut()
        try:
            return sort_out(self.again(lambda: self._applying.apply(runs, done, position=position)), done)
        except Failed as failure:
            logger.debug("%d streams of %s fail together: %s", len(runs), self._name, failure)
            if len(runs) == 1:
                return SortedOut(list(runs))
        middle = len(runs) // 2
        return self._halve(runs[:middle], done).plus(self._halve(runs[middle:], done))

    def _smaller(self, failure: Failed) -> int:
        """Return how many events the next look shall take."""
        if not self._second.trying:
            raise failure.error  # it was not applying that failed: nothing would get better
        return len(self._second.trying) // 2

    def _has_chances(self, failure: Failed, attempts: int) -> bool:
        """Return whether an event is to be tried again; what cannot be decoded is not."""
        logger.warning("%s fails at %s, attempt %d: %s", self._name, self._second.trying[0].stream, attempts, failure)
        return cause_of(failure.error) == "failed" and attempts < self._applying.projection.attempts

    def _park(self, run: Run, failure: Failed, done: Counters, attempts: int) -> Run | None:
        culprit = self._second.trying[0]
        why = Why(cause_of(failure.error), str(failure), detail(failure.error, private=self._applying.private))
        return self.again(lambda: self._second.park(culprit, run, why, done, attempts=attempts))


class SortedOut(msgspec.Struct):
    """Runs that did not advance."""

    left: list[Run] = msgspec.field(default_factory=list)  # need a second look
    ahead: list[Run] = msgspec.field(default_factory=list)  # the parts that follow their checkpoint
    doubts: list[Doubt] = msgspec.field(default_factory=list)  # below their checkpoint, and not known to be duplicates

    def plus(self, other: "SortedOut") -> "SortedOut":
        """Return both."""
        return SortedOut(self.left + other.left, self.ahead + other.ahead, self.doubts + other.doubts)


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


def _backoff(attempt: int) -> float:
    return float(0.1 * 4 ** (min(attempt, 4) - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 jitter needs no secrecy
