"""Finds the event that fails, among streams (`isolation`), then within its stream, and parks it.

What fails alone is set aside and tried again, as its handler's policy says (`Retry`), then parked with its stream; what
is another transaction's or the server's fault never is.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from eventkit.errors import ConcurrencyError, DatabaseUnavailable, TryLater
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.duplicates import Doubt, Kind
from eventkit.projection.apply.isolation import BatchIsolation, pause_of
from eventkit.projection.apply.lanes import Lanes
from eventkit.projection.apply.letter import Why
from eventkit.projection.apply.parking import PAGE, StreamParking
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.dispatch import Handler, handler_of, step_of
from eventkit.projection.failure import (
    Attempts,
    Away,
    ErrorClass,
    Failed,
    Locked,
    SetAside,
    cause_of,
    classify_error,
    detail,
    frames_of,
    is_lock_timeout,
    translated,
)
from eventkit.projection.reached import Reached
from eventkit.projection.retry_policy import Backoff
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

T = TypeVar("T")
RIVALS = 8  # deadlocks and the like in a row, before the connection is thrown away
_RIVALS = Backoff(first=0.01, factor=4.0, most=0.64)  # seconds between them
_REDRIVES, _REDRIVE_PAUSE = 3, 1.0  # attempts of a redrive, and seconds between them, at most
_AWAY = 1.0  # seconds between two tries of a rebuild at what a handler calls


class Decided(NamedTuple):
    """What becomes of a look at a stream with an event that has failed."""

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
        self._attempts = Attempts()
        self._absences = Attempts()  # failures that say nothing of the event
        self._most = min(PAGE, applying.projection.batch)  # events in a look
        others = [(lane, partial(self.again, lane=lane)) for lane in lanes]
        self._isolation = BatchIsolation(
            self._name, Lanes([(applying, self.again), *others]), self._wait_for, aside=aside
        )

    def apply(self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None) -> list[Run]:
        """Apply whole runs, one a stream; return those that need a second look."""
        found = self._isolation.apply(runs, done, reached=reached)
        if found.ahead:  # their first events had been applied already, the rest can go together
            late = self._isolation.apply(found.ahead, done)
            found.ahead = []
            found.add(late)
        for run, failure in found.failed:  # it was called alone: that was an attempt
            decided = self._decide(run, run.arrivals[0], failure, done)
            again = run if decided.result is False else decided.left
            found.left += [again] if again is not None else []
        left = found.left + found.ahead
        return left + self._judge(found.doubts, done) if found.doubts else left

    def look(self, run: Run, done: Counters, *, redrive: bool = False) -> bool:
        """Look at a stream until nothing is left to do; False where nothing could be decided.

        That is so when asked to stop while an event had chances left, or where something is away and no event that
        could be set aside was given.
        """
        left: Run | None = run
        limit = self._most
        while left is not None:
            current = left
            around = self._aside is not None and self._aside.around_locks
            looking = partial(self._second.look, current, done, limit=limit, redrive=redrive, around_locks=around)
            try:
                left = self.again(looking)
                limit = min(self._most, 2 * limit)
                self._succeeded(run.stream, self._second.trying)
            except Locked:
                if current.arrivals:
                    self._isolation.set_aside([current])
                return bool(current.arrivals)
            except Away as away:
                decided = self._put_off(current, away, done)
                if decided.result is not None:
                    return decided.result
                left, limit = decided.left, decided.limit
            except Failed as failure:
                if len(self._second.trying) != 1:
                    limit = self._smaller(failure)
                    continue
                decided = self._decide(current, self._second.trying[0], failure, done, redrive=redrive)
                if decided.result is not None:
                    return decided.result
                left, limit = decided.left, decided.limit
        return True

    def again(self, work: Callable[[], T], lane: BatchApplier | None = None) -> T:
        """Do something in a transaction, of a `lane` or of its own connection; again after a deadlock and the like.

        Failed when an event is to blame, Away when something that a handler calls is.
        """
        applying = lane or self._applying
        lost: Exception | None = None
        ours = True
        for attempt in range(1, RIVALS + 1):
            try:
                return work()
            except Exception as error:
                ours = applying.workspace.broken
                whose = classify_error(error, ours=ours)
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
                self._stop.wait(_RIVALS.pause(attempt))
        if isinstance(lost, ConcurrencyError):  # nobody wins that often: a handler expects what will never be
            raise Failed(lost) from lost
        if lost is not None and not ours and handler_of(lost):  # it has lost in another database
            raise Away(lost) from lost
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

    def _before(self, away: Away) -> int:
        """Return how many events of the last look come before the first that its handler would fail at; 1 at least."""
        step, handlers = step_of(away.error), self._applying.projection.handlers
        kinds = [handler.kind if (handler := handlers.of(arrival)) else None for arrival in self._second.trying]
        return max(1, kinds.index(step.handler.kind)) if step and step.handler.kind in kinds else 1

    def _put_off(self, run: Run, away: Away, done: Counters) -> Decided:
        """Set a stream aside whose next event has failed, or park it where it fails while others get through."""
        if len(self._second.trying) != 1:
            return Decided(None, run, self._before(away))
        if self._aside is None:
            return Decided(False if self._wait_for(away) else None, run, 1)
        breaker, culprit = self._aside.breakers.failed(away.error), self._second.trying[0]
        if not run.arrivals:
            return Decided(result=False)
        attempts = self._absences.failed(run.stream, culprit.version)
        self._aside.add(run, breaker.handler)
        pause = None if breaker.is_open else pause_of(away.error, breaker)
        strikes = self._aside.failed(run.stream, pause=pause)
        if strikes < breaker.handler.retry.attempts or isinstance(away.error, TryLater):
            return Decided(result=True)
        waited = self._aside.drop(run.stream)
        return Decided(None, self._park(waited, culprit, Failed(away.error), done, attempts), self._most)

    def _decide(self, run: Run, culprit: Arrival, failure: Failed, done: Counters, *, redrive: bool = False) -> Decided:
        """Let an event that has failed alone be tried again later, or park it with its stream.

        A redrive is done between two batches: it makes few attempts, and pauses for a second at most.
        """
        attempts = self._attempts.failed(run.stream, culprit.version)
        self._report(culprit, failure, attempts)
        handler = self._applying.projection.handlers.of(culprit)
        policy = handler.retry if handler else self._applying.projection.retry
        tried_again = cause_of(failure.error) == "failed" and policy.waits_for(failure.error) is not False
        most = min(policy.attempts, _REDRIVES) if redrive else policy.attempts
        if not tried_again or attempts >= most:
            left = self._park(self._with_rest(run, handler), culprit, failure, done, attempts)
            return Decided(None, left, self._most)
        pause = policy.backoff.pause(attempts)
        if self._aside is None or redrive:
            stopped = self._stop.wait(min(pause, _REDRIVE_PAUSE) if redrive else pause)
            return Decided(False if stopped else None, run)
        if not run.arrivals:
            return Decided(result=False)  # its letters are looked at again in a while
        self._aside.add_failed(run, handler, str(failure), attempts=attempts, pause=pause)
        return Decided(result=True)

    def _wait_for(self, away: Away) -> bool:
        """Wait before all is tried again; return whether to stop."""
        logger.warning("%s waits for what its handler calls: %s", self._name, away)
        return self._stop.wait(_AWAY)

    def _succeeded(self, stream: str, arrivals: Sequence[Arrival]) -> None:
        if not arrivals:
            return
        self._forget(stream)
        if self._aside is not None:
            self._aside.went_on(stream)
            if self._aside.breakers:
                self._aside.breakers.succeeded(self._applying.projection.handlers, arrivals)

    def _forget(self, stream: str) -> None:
        self._attempts.forget(stream)
        self._absences.forget(stream)

    def _smaller(self, failure: Failed) -> int:
        """Return how many events the next look shall take."""
        if not self._second.trying:
            raise failure.error  # it was not applying that failed: nothing would get better
        return len(self._second.trying) // 2

    def _with_rest(self, run: Run, handler: Handler | None) -> Run:
        """Return a run with the later events of its stream that wait."""
        if self._aside is None or run.stream not in self._aside or not run.arrivals:
            return run
        self._aside.add(run, handler)
        return self._aside.drop(run.stream)

    def _report(self, culprit: Arrival, failure: Failed, attempts: int) -> None:
        said_of = (self._name, culprit.stream, culprit.version, attempts)
        logger.warning("%s fails at %s version %d, attempt %d%s: %s", *said_of, _where(failure.error), failure)
        logger.debug("traceback, without what the error says:\n%s", frames_of(failure.error))

    def _park(self, run: Run, culprit: Arrival, failure: Failed, done: Counters, attempts: int) -> Run | None:
        why = Why(cause_of(failure.error), str(failure), detail(failure.error, private=self._applying.private))
        try:
            left = self.again(lambda: self._second.park(culprit, run, why, done, attempts=attempts))
        except Locked:
            return run  # the next look sets it aside
        self._forget(run.stream)
        return left


def _where(error: Exception) -> str:
    step = step_of(error)
    return f", at {step.handler.type} in {step.handler.name}" if step else ""
