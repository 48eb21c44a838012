"""Finds the event that fails, among streams (`isolation`), then within its stream, and parks it.

What fails alone is tried again with a growing pause, then parked with its stream; what is another transaction's or the
server's fault never is.
"""

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from eventkit.errors import ConcurrencyError, DatabaseUnavailable, TryLater
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.duplicates import Doubt, Kind
from eventkit.projection.apply.error_class import ErrorClass, cause_of, detail, error_class, is_lock_timeout, translated
from eventkit.projection.apply.error_place import frames_of
from eventkit.projection.apply.failures import Away, Failed, Locked
from eventkit.projection.apply.isolation import BatchIsolation
from eventkit.projection.apply.letter import Why
from eventkit.projection.apply.parking import PAGE, StreamParking
from eventkit.projection.apply.set_aside import SetAside
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.define.dispatch import step_of
from eventkit.projection.lanes import Lanes
from eventkit.projection.reached import Reached
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

T = TypeVar("T")
RIVALS = 8  # deadlocks and the like in a row, before the connection is thrown away
_AWAY = 1.0  # seconds between two tries of a rebuild at what a handler calls


class Postponed(NamedTuple):
    """What becomes of a look at a stream whose handler has found something away."""

    result: bool | None  # of the look, where it has ended
    left: Run | None = None  # what is looked at again
    limit: int = 1  # how many events at once


class EventIsolation:
    """The way from a batch to its second looks."""

    def __init__(
        self,
        applying: BatchApplier,
        second: StreamParking,
        stop: Stop,
        *,
        aside: SetAside | None = None,
        lanes: Sequence[BatchApplier] = (),
    ) -> None:
        """Work on the connection that both share; pauses end when `stop` is set.

        Streams wait in `aside` for what a handler calls; without it, everything waits. Batches are applied on `lanes`
        too, at the same time.
        """
        self._applying = applying
        self._second = second
        self._stop = stop
        self._aside = aside
        self._name = applying.projection.name
        self._isolation = BatchIsolation(self._name, Lanes([applying, *lanes], self.again), self._wait_for, aside=aside)

    def apply(self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None) -> list[Run]:
        """Apply whole runs, one a stream; return those that need a second look."""
        sorted_out = self._isolation.apply(runs, done, reached=reached)
        left, doubts = sorted_out.left, sorted_out.doubts
        if sorted_out.ahead:  # their first events had been applied already, the rest can go together
            late = self._isolation.apply(sorted_out.ahead, done)
            left += [*late.left, *late.ahead]
            doubts += late.doubts
        return left + self._judge(doubts, done) if doubts else left

    def look(self, run: Run, done: Counters, *, redrive: bool = False) -> bool:
        """Look at a stream until nothing is left to do; False where nothing could be decided.

        That is so when asked to stop while an event had chances left, or where something is away and no event that
        could be set aside was given.
        """
        left: Run | None = run
        most = min(PAGE, self._applying.projection.batch)
        limit, attempts = most, 0
        while left is not None:
            current = left
            around = self._aside is not None and self._aside.around_locks
            looking = partial(self._second.look, current, done, limit=limit, redrive=redrive, around_locks=around)
            try:
                left = self.again(looking)
                limit, attempts = min(most, 2 * limit), 0
                self._succeeded(self._second.trying)
            except Locked:
                if current.arrivals:
                    self._isolation.set_aside([current])
                return bool(current.arrivals)
            except Away as away:
                put_off = self._put_off(current, away, done)
                if put_off.result is not None:
                    return put_off.result
                left, limit = put_off.left, put_off.limit
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
                limit, attempts = most, 0
        return True

    def again(self, work: Callable[[], T], lane: BatchApplier | None = None) -> T:
        """Do something in a transaction, of a `lane` or of its own connection; again after a deadlock and the like.

        Failed when an event is to blame, Away when something that a handler calls is.
        """
        applying = lane or self._applying
        lost: Exception | None = None
        for attempt in range(1, RIVALS + 1):
            try:
                return work()
            except Exception as error:
                whose = self._blame(error, applying)
                if whose is ErrorClass.EVENT:
                    raise Failed(error) from error
                if whose is ErrorClass.AWAY:
                    raise Away(error) from error
                if whose is not ErrorClass.RIVAL:
                    raise translated(error) from error
                if self._aside is not None and applying.fenced and is_lock_timeout(error):
                    raise Locked(str(error).strip().partition("\n")[0]) from error
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
        except Locked as locked:
            raise DatabaseUnavailable(f"{self._name} waits for a lock of another transaction: {locked}") from locked

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

    def _blame(self, error: Exception, applying: BatchApplier) -> ErrorClass:
        ours = applying.workspace.broken
        return error_class(error, ours=ours, away=self._applying.projection.away)

    def _before(self, away: Away) -> int:
        """Return how many events of the last look come before the first that its handler would fail at; 1 at least."""
        step, handlers = step_of(away.error), self._applying.projection.handlers
        kinds = [handler.kind if (handler := handlers.of(arrival)) else None for arrival in self._second.trying]
        return max(1, kinds.index(step.handler.kind)) if step and step.handler.kind in kinds else 1

    def _put_off(self, run: Run, away: Away, done: Counters) -> "Postponed":
        """Set a stream aside whose next event has failed, or park it where it fails while others get through."""
        if len(self._second.trying) != 1:
            return Postponed(None, run, self._before(away))
        if self._aside is None:
            return Postponed(False if self._wait_for(away) else None, run, 1)
        handler = self._aside.breakers.failed(away.error)
        if not run.arrivals:
            return Postponed(result=False)
        self._aside.add(run, handler)
        strikes = self._aside.failed(run.stream)
        if strikes < self._applying.projection.attempts or isinstance(away.error, TryLater):
            return Postponed(result=True)
        return Postponed(None, self._park(self._aside.drop(run.stream), Failed(away.error), done, strikes))

    def _wait_for(self, away: Away) -> bool:
        """Wait before all is tried again; return whether to stop."""
        logger.warning("%s waits for what its handler calls: %s", self._name, away)
        return self._stop.wait(_AWAY)

    def _succeeded(self, arrivals: Sequence[Arrival]) -> None:
        if self._aside is not None and self._aside.breakers:
            self._aside.breakers.succeeded(self._applying.projection.handlers, arrivals)

    def _smaller(self, failure: Failed) -> int:
        """Return how many events the next look shall take."""
        if not self._second.trying:
            raise failure.error  # it was not applying that failed: nothing would get better
        return len(self._second.trying) // 2

    def _has_chances(self, failure: Failed, attempts: int) -> bool:
        """Return whether an event is to be tried again; what cannot be decoded is not."""
        culprit = self._second.trying[0]
        said_of = (self._name, culprit.stream, culprit.version, attempts)
        logger.warning("%s fails at %s version %d, attempt %d%s: %s", *said_of, _where(failure.error), failure)
        logger.debug("traceback, without what the error says:\n%s", frames_of(failure.error))
        return cause_of(failure.error) == "failed" and attempts < self._applying.projection.attempts

    def _park(self, run: Run, failure: Failed, done: Counters, attempts: int) -> Run | None:
        culprit = self._second.trying[0]
        why = Why(cause_of(failure.error), str(failure), detail(failure.error, private=self._applying.private))
        try:
            return self.again(lambda: self._second.park(culprit, run, why, done, attempts=attempts))
        except Locked:
            return run  # the next look sets it aside


def _where(error: Exception) -> str:
    step = step_of(error)
    return f", at {step.handler.type} in {step.handler.name}" if step else ""


def _backoff(attempt: int) -> float:
    return float(0.1 * 4 ** (min(attempt, 4) - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 jitter needs no secrecy
