"""Finds the failing event of a batch, first among streams (`batch_isolation`), then within its stream, and parks it.

An event that fails alone is set aside and retried by its handler's policy (`Retry`), then parked with its stream.
Errors of another transaction or of the server park nothing.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from eventkit.errors import TryLater
from eventkit.observability import metrics
from eventkit.observability.log_fields import LogFields
from eventkit.observability.tracing import kind_of, note
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.batch_isolation import BatchIsolation, pause_of
from eventkit.projection.apply.duplicates import Doubt, Kind
from eventkit.projection.apply.lanes import Lanes
from eventkit.projection.apply.parking import Why, event_fields
from eventkit.projection.apply.stream_repair import PAGE, RepairOptions, StreamRepair
from eventkit.projection.apply.transaction_retry import TransactionRetry
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.dispatch import Handler, step_of
from eventkit.projection.failure import Attempts, Away, Failed, Locked, SetAside, cause_of, detail, frames_of
from eventkit.projection.reached import Reached
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

_AWAY_PAUSE = 1.0  # seconds between two attempts of a rebuild while a service that a handler calls is away


class NextAttempt(NamedTuple):
    """How a repair continues after an event has failed."""

    result: bool | None  # of the whole repair, if it has ended
    left: Run | None = None  # the run to repair next
    limit: int = 1  # events in one transaction


class RetryLimits(NamedTuple):
    """Limits below those of a handler's policy, for retries that are waited for."""

    attempts: int
    pause: float  # seconds between two attempts at most


class EventIsolation:
    """Applies batches, and repairs the streams that did not advance."""

    def __init__(
        self,
        applier: BatchApplier,
        repair: StreamRepair,
        stop: Stop,
        *,
        set_aside: SetAside | None = None,
        lanes: Sequence[BatchApplier] = (),
    ) -> None:
        """Work on the connection that `applier` and `repair` share; pauses end when `stop` is set.

        Streams wait in `set_aside` while a service that their handler calls is away; without it, everything waits.
        `lanes` apply parts of a batch at the same time.
        """
        self._applier = applier
        self._repair = repair
        self._parking = repair.parking
        self._stop = stop
        self._set_aside = set_aside
        self._name = applier.projection.name
        self._rarely = repair.parking.rarely
        self._attempts = Attempts()
        self._absences = Attempts()  # failures that are not the event's fault
        self._most = min(PAGE, applier.projection.batch)  # events in a repair
        each = [
            TransactionRetry(lane, stop, self._rarely, waits_for_locks=set_aside is None) for lane in (applier, *lanes)
        ]
        self.transactions = each[0]
        self._isolation = BatchIsolation(self._name, Lanes(each), self._wait_for, set_aside=set_aside)

    def apply(self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None) -> list[Run]:
        """Apply whole runs, one a stream; return those that need a repair."""
        found = self._isolation.apply(runs, done, reached=reached)
        if found.ahead:  # their first events were applied before; the others can share a transaction
            late = self._isolation.apply(found.ahead, done)
            found.ahead = []
            found.add(late)
        for run, failure in found.failed:  # its event was called alone: that was an attempt
            decision = self._retry_or_park(run, run.arrivals[0], failure, done)
            again = run if decision.result is False else decision.left
            found.left += [again] if again is not None else []
        left = found.left + found.ahead
        return left + self._judge(found.doubts, done) if found.doubts else left

    def repair(self, run: Run, done: Counters, *, redrive: RetryLimits | None = None) -> bool:
        """Repair a stream until nothing is left to do; return False where nothing could be decided.

        That is so when `stop` is set while an event has attempts left, or when a called service is away and `run` has
        no event that could be set aside. A `redrive` retries a parked stream from its first letter on, within limits.
        """
        limit, tried = self._most, list[Arrival]()
        while True:
            around_locks = self._set_aside is not None and self._set_aside.around_locks
            options = RepairOptions(limit, redrive is not None, around_locks)
            try:
                left = self.transactions.run(partial(self._repair.repair, run, done, options, tried=tried))
                decision = NextAttempt(True if left is None else None, left, min(self._most, 2 * limit))
                self._record_success(run.stream, tried)
            except Locked:
                if run.arrivals:
                    self._isolation.add_locked([run])
                return bool(run.arrivals)
            except Away as away:
                decision = self._wait_or_park(run, tried, away, done)
            except Failed as failure:
                decision = self._halve_or_park(run, tried, failure, done, redrive)
            if decision.result is not None:
                return decision.result
            if decision.left is None:
                return True
            run, limit = decision.left, decision.limit

    def _judge(self, doubts: Sequence[Doubt], done: Counters) -> list[Run]:
        """Count messages below their checkpoints; return the forks, which a repair parks."""
        forks: list[Run] = []
        verdicts = self.transactions.certainly(lambda: self._repair.judge(doubts))
        for doubt, verdict in zip(doubts, verdicts, strict=True):
            if verdict.kind is Kind.FORK:
                forks.append(Run(doubt.checkpoint.stream, list(doubt.arrivals)))
            elif verdict.kind is Kind.UNKNOWN:
                done.unknown += len(doubt.arrivals)
            else:
                done.duplicates += len(doubt.arrivals)
        return forks

    def _before(self, tried: Sequence[Arrival], away: Away) -> int:
        """Return how many of the tried events come before the first one of the failing handler; at least 1."""
        step, handlers = step_of(away.error), self._applier.projection.handlers
        kinds = [handler.kind if (handler := handlers.of(arrival)) else None for arrival in tried]
        return max(1, kinds.index(step.handler.kind)) if step and step.handler.kind in kinds else 1

    def _wait_or_park(self, run: Run, tried: Sequence[Arrival], away: Away, done: Counters) -> NextAttempt:
        """Set a stream aside whose next event has failed, or park it if it fails while others succeed."""
        if len(tried) != 1:
            return NextAttempt(None, run, self._before(tried, away))
        if self._set_aside is None:
            return NextAttempt(False if self._wait_for(away) else None, run, 1)
        breaker, failing = self._set_aside.breakers.failed(away.error), tried[0]
        if not run.arrivals:
            return NextAttempt(result=False)
        attempts = self._absences.failed(run.stream, failing.version)
        self._set_aside.add(run, breaker.handler)
        pause = None if breaker.is_open else pause_of(away.error, breaker)
        strikes = self._set_aside.failed(run.stream, pause=pause)
        if strikes < breaker.handler.retry.attempts or isinstance(away.error, TryLater):
            return NextAttempt(result=True)
        waited = self._set_aside.drop(run.stream)
        return NextAttempt(None, self._park(waited, failing, Failed(away.error), done, attempts), self._most)

    def _halve_or_park(
        self, run: Run, tried: Sequence[Arrival], failure: Failed, done: Counters, redrive: RetryLimits | None
    ) -> NextAttempt:
        """Repair with half as many events after several have failed together; retry or park a single one."""
        if not tried:
            raise failure.error  # the error is not from applying: fewer events would not help
        if len(tried) > 1:
            return NextAttempt(None, run, len(tried) // 2)
        return self._retry_or_park(run, tried[0], failure, done, redrive=redrive)

    def _retry_or_park(
        self, run: Run, failing: Arrival, failure: Failed, done: Counters, *, redrive: RetryLimits | None = None
    ) -> NextAttempt:
        """Schedule a retry of an event that has failed alone, or park it with its stream.

        A redrive waits for its retries here, within its limits.
        """
        attempts = self._attempts.failed(run.stream, failing.version)
        self._report(failing, failure, attempts)
        handler = self._applier.projection.handlers.of(failing)
        policy = handler.retry if handler else self._applier.projection.retry
        is_retried = cause_of(failure.error) == "failed" and policy.waits_for(failure.error) is not False
        most = min(policy.attempts, redrive.attempts) if redrive else policy.attempts
        if not is_retried or attempts >= most:
            left = self._park(self._with_rest(run, handler), failing, failure, done, attempts)
            # The run of a redrive has letters, which stay: a repair of them would redrive the stream again.
            return NextAttempt(None, None if redrive else left, self._most)
        pause = policy.backoff.pause(attempts)
        if self._set_aside is None or redrive:
            stopped = self._stop.wait(min(pause, redrive.pause) if redrive else pause)
            return NextAttempt(False if stopped else None, run)
        if not run.arrivals:
            return NextAttempt(result=False)  # its dead letters are tried again later
        self._set_aside.add_failed(run, handler, str(failure), attempts=attempts, pause=pause)
        return NextAttempt(result=True)

    def _wait_for(self, away: Away) -> bool:
        """Wait before the next attempt; return whether to stop."""
        fields = LogFields(projection=self._name, error_type=kind_of(away.error))
        sentence = "%s waits for a service that its handler calls: %s"
        self._rarely.warning(sentence, self._name, away, kind=("away", type(away.error)), fields=fields)
        return self._stop.wait(_AWAY_PAUSE)

    def _record_success(self, stream: str, arrivals: Sequence[Arrival]) -> None:
        if not arrivals:
            return
        self._forget(stream)
        if self._set_aside is not None:
            self._set_aside.succeeded(stream)
            if self._set_aside.breakers:
                self._set_aside.breakers.succeeded(self._applier.projection.handlers, arrivals)

    def _forget(self, stream: str) -> None:
        self._attempts.forget(stream)
        self._absences.forget(stream)

    def _with_rest(self, run: Run, handler: Handler | None) -> Run:
        """Return a run with the waiting later events of its stream."""
        if self._set_aside is None or run.stream not in self._set_aside or not run.arrivals:
            return run
        self._set_aside.add(run, handler)
        return self._set_aside.drop(run.stream)

    def _report(self, failing: Arrival, failure: Failed, attempts: int) -> None:
        metrics.HANDLER_RETRIES.add(1, self._name)
        step = step_of(failure.error)
        self._rarely.warning(
            "%s fails at %s version %d, attempt %d%s: %s",
            *(self._name, failing.stream, failing.version, attempts),
            f", at {step.handler.type} in {step.handler.name}" if step else "",
            failure,
            kind=(step.handler.kind if step else None, type(failure.error)),
            fields=event_fields(self._name, failing, kind_of(failure.error)),
        )
        place = {"eventkit.stream": failing.stream, "eventkit.version": failing.version, "eventkit.attempt": attempts}
        note("eventkit.failed", place, error=failure.error)
        logger.debug("traceback without the error message:\n%s", frames_of(failure.error))

    def _park(self, run: Run, failing: Arrival, failure: Failed, done: Counters, attempts: int) -> Run | None:
        why = Why(cause_of(failure.error), str(failure), detail(failure.error, private=self._applier.private))
        try:
            left = self.transactions.run(lambda: self._parking.park(failing, run, why, done, attempts=attempts))
        except Locked:
            return run  # the next repair sets it aside
        self._forget(run.stream)
        return left
