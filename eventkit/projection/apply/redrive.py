"""Redrives parked streams: applies their dead letters in order, with this process's code.

    request     an operator asks for a redrive of a stream                `eventkit.storage.dead_letters.redrive`
    serve       a running projector takes the requests up each second     `StreamRedrive.serve`
    retry       the stream's letters are applied, in one transaction      `stream_repair`
    end         the stream continues, or is parked with a new reason      `parking`

A stream that is parked only for missing events is retried without a request: the store may have the events now.
"""

import logging
import time
from collections.abc import Iterator
from functools import partial

from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.event_isolation import EventIsolation, RetryLimits
from eventkit.projection.apply.parking import StreamParking
from eventkit.projection.batch import Run
from eventkit.projection.counters import Counters
from eventkit.storage.dead_letters import DeadLetters, Redrives
from eventkit.storage.projections import parked_by
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

REDRIVE_TIME = 1.0  # seconds of retries between two batches
_LIMITS = RetryLimits(attempts=3, pause=1.0)  # a redrive runs between two batches


class StreamRedrive:
    """Retries the parked streams of one projection."""

    def __init__(
        self,
        applier: BatchApplier,
        isolation: EventIsolation,
        parking: StreamParking,
        *,
        counters: Counters,
        stop: Stop,
    ) -> None:
        """Share the applier's connection; end early when `stop` is set."""
        self._applier = applier
        self._isolation = isolation
        self._transactions = isolation.transactions
        self._parking = parking
        self._counters = counters
        self._stop = stop
        self._last_held = ""  # the last held stream that was retried, if the last retry ran out of time

    def serve(self, reserved_for: str | None = None) -> int:
        """Redrive, for about a second, the streams that an operator has requested; return how many were tried.

        They are the requests for any projector, or those for the process `reserved_for`.
        """
        deadline = time.monotonic() + REDRIVE_TIME
        tried = 0
        for stream in self._transactions.certainly(partial(self._requested, reserved_for)):
            if self._stop.is_set() or time.monotonic() > deadline:
                break
            if not self._isolation.repair(Run(stream, []), self._counters, redrive=_LIMITS):
                break  # a service that its handler calls is away: the request stays
            name, parked = self._applier.projection.name, self._is_parked(stream)
            logger.info("%s redrives %s: it %s", name, stream, "stays parked" if parked else "continues")
            tried += 1
        return tried

    def retry(self, stream: str) -> bool:
        """Apply a parked stream's letters in order; return whether the stream is released.

        An event that fails again stays parked, with the new reason.
        """
        self._isolation.repair(Run(stream, []), self._counters, redrive=_LIMITS)
        return not self._is_parked(stream)

    def retry_held(self) -> None:
        """Retry, for about a second, the streams that wait for missing events: the store may have them now.

        The next call continues after the last stream of this one.
        """
        deadline = time.monotonic() + REDRIVE_TIME
        for stream in self.held(self._last_held):
            self._isolation.repair(Run(stream, []), self._counters)
            self._last_held = stream
            if self._stop.is_set() or time.monotonic() > deadline:
                return
        self._last_held = ""

    def held(self, after: str = "") -> Iterator[str]:
        """Yield the streams that wait only for missing events, in order, from above `after`."""
        while found := self._transactions.certainly(partial(self._held, after)):
            yield from found
            after = found[-1]

    def _is_parked(self, stream: str) -> bool:
        return self._transactions.certainly(partial(self._parking.is_parked, stream))

    def _requested(self, reserved_for: str | None) -> list[str]:
        with self._applier.workspace.transaction() as connection:
            by = parked_by(self._applier.projection.name, self._applier.fence(connection).generation)
            return Redrives(self._applier.schema).requested(connection, by, reserved_for)

    def _held(self, after: str) -> list[str]:
        with self._applier.workspace.transaction() as connection:
            by = parked_by(self._applier.projection.name, self._applier.fence(connection).generation)
            return DeadLetters(self._applier.schema).held(connection, by, after=after)
