"""Runs the transactions of one connection, again after contention, and sorts their errors.

A deadlock or a lock timeout is another transaction's doing: the same work is run again after a short pause, and the
connection is replaced when that does not help. The caller decides about every other error by its kind: Failed for an
error of an event, Away while a service that a handler calls is away, Locked for a lock timeout behind the fence.
"""

from collections.abc import Callable
from typing import TypeVar

from eventkit.errors import ConcurrencyError, DatabaseUnavailable
from eventkit.observability.rarely import Rarely
from eventkit.observability.tracing import kind_of
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.dispatch import handler_of
from eventkit.projection.failure import (
    Away,
    ErrorClass,
    Failed,
    Locked,
    classify_error,
    is_lock_timeout,
    translated,
)
from eventkit.projection.retry_policy import Backoff
from eventkit.worker import Stop

T = TypeVar("T")
CONTENTION_ATTEMPTS = 8  # deadlocks or lock timeouts in a row, before the connection is replaced
_CONTENTION_PAUSE = Backoff(first=0.01, factor=4.0, most=0.64)  # seconds between them


class TransactionRetry:
    """The transactions of one applier."""

    def __init__(self, applier: BatchApplier, stop: Stop, rarely: Rarely, *, waits_for_locks: bool) -> None:
        """Run on the applier's connection; pauses end when `stop` is set.

        With `waits_for_locks`, a lock timeout is retried as a deadlock is; otherwise it raises Locked, and the caller
        sets the locked streams aside.
        """
        self.applier = applier
        self._stop = stop
        self._rarely = rarely
        self._waits_for_locks = waits_for_locks
        self._name = applier.projection.name

    def run(self, work: Callable[[], T]) -> T:
        """Run `work`, one transaction; raise Failed, Away or Locked, or an error of the server or the deployment."""
        for attempt in range(1, CONTENTION_ATTEMPTS + 1):
            try:
                return work()
            except Exception as error:  # noqa: BLE001 raised again, unless it is contention
                own_transaction = self.applier.workspace.broken
                self._raise_unless_contention(error, own_transaction=own_transaction)
                lost = error
                self._report(error)
                self._stop.wait(_CONTENTION_PAUSE.pause(attempt))
        if isinstance(lost, ConcurrencyError):  # the handler expects a version that never comes
            raise Failed(lost) from lost
        if not own_transaction and handler_of(lost):  # contention in another database
            raise Away(lost) from lost
        raise DatabaseUnavailable(
            f"{self._name} lost {CONTENTION_ATTEMPTS} times in a row to other transactions (deadlocks or lock timeouts)"
        )

    def certainly(self, work: Callable[[], T]) -> T:
        """Run `work`, a transaction that applies no event; raise its own error."""
        try:
            return self.run(work)
        except Failed as failure:
            raise failure.error from None
        except Locked as locked:
            raise DatabaseUnavailable(f"{self._name} waits for a lock of another transaction: {locked}") from locked

    def _raise_unless_contention(self, error: Exception, *, own_transaction: bool) -> None:
        """Raise the error that the caller is to see, unless the transaction has lost to another one."""
        error_class = classify_error(error, own_transaction=own_transaction)
        if error_class is ErrorClass.EVENT:
            raise Failed(error) from error
        if error_class is ErrorClass.AWAY:
            raise Away(error) from error
        if error_class is not ErrorClass.CONTENTION:
            raise translated(error) from error
        if not self._waits_for_locks and self.applier.fenced and is_lock_timeout(error):
            raise Locked(_first_line(error)) from error

    def _report(self, error: Exception) -> None:
        self._rarely.info(
            "%s retries after contention: %s",
            self._name,
            _first_line(error),
            kind=("contention", type(error)),
            fields={"projection": self._name, "error_type": kind_of(error)},
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
