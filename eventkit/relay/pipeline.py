"""Read, publish, settle: three stages, each on its own thread and connection, with several batches in flight.

    reader --rows--> publisher --acknowledged positions--> settlement

It runs until the caller ends it, a stage fails, or the publisher fails. It returns a failure without acting on it: the
leader decides.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from eventkit.observability import metrics
from eventkit.observability.liveness import loop, waiting_for
from eventkit.relay.acknowledgement_times import AcknowledgementTimes
from eventkit.relay.in_flight import InFlight
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import GapReader, Row, Settlement, message
from eventkit.transports import Reports

logger = logging.getLogger("eventkit.relay")

Claim = Callable[[Sequence[Row]], dict[str, str]]
"""Claims the topics of rows, and returns the refused ones with reasons."""

_MIN_READ_WAIT, _MAX_READ_WAIT, _READ_WAIT_GROWTH = 0.001, 0.07, 1.4  # seconds between reads, and their factor
_FULL_PAGE = 500  # rows; after a page of so many the next is read without a wait
_SETTLE_INTERVAL = 0.02  # seconds; a settlement may wait, and a large one costs as much as a small one
_REPORT_INTERVAL = 0.005  # seconds between polls for acknowledgements; only their settlement waits for them
_IDLE_REPORT_INTERVAL = 0.1  # seconds, the same while no event is outstanding
_SILENCE_LIMIT = 3.0  # seconds without an acknowledgement until a warning
_DRAIN_TIMEOUT = 3.0  # seconds for the events in flight at the end
_SCOPE_CHECK_INTERVAL = 1.0  # seconds between checks of the parked streams and held topics
_SWEEP_INTERVAL = 300.0  # seconds between searches for events below the reader's cursor


class Silence:
    """Logs that the broker has stopped acknowledging, and that it acknowledges again; a client may log neither."""

    def __init__(self) -> None:
        self._last_report = time.monotonic()
        self._warned = False

    def note(self, outstanding: int, *, reported: bool) -> None:
        """Note one poll: `reported` where the broker acknowledged events or none is outstanding."""
        now = time.monotonic()
        if reported:
            if self._warned:
                logger.info("the broker acknowledges again after %.0f s", now - self._last_report)
            self._last_report, self._warned = now, False
        elif now - self._last_report > _SILENCE_LIMIT and not self._warned:
            logger.warning("the broker is away or slow: %d events wait to be acknowledged; trying again", outstanding)
            self._warned = True


class Pipeline:
    """One run of the three stages over a reader, a publisher and a settlement."""

    def __init__(
        self, reader: GapReader, publishers: PublisherLifecycle, settlement: Settlement, *, owed: set[int], claim: Claim
    ) -> None:
        """Connect the stages; `claim` is called with each page before the page is sent.

        `owed` holds positions that are acknowledged and not settled, also after a failure.
        """
        self._reader = reader
        self._publisher = publishers.publisher
        self._spans = publishers.spans
        self._settlement = settlement
        self._owed = owed
        self._in_flight = InFlight()
        self._pages: queue.SimpleQueue[list[Row]] = queue.SimpleQueue()
        self._acknowledged: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._claim = claim
        self._counters = publishers.counters
        self._times = AcknowledgementTimes()
        self.refused: dict[str, str] = {}  # topic -> reason of the refused claims that ended the run

    def run(self, keep_running: Callable[[], bool], changed: Callable[[], bool]) -> Reports | None:
        """Work until `keep_running` returns False or `changed` returns True; then settle the events in flight.

        `keep_running` is called at each step, `changed` each second by the reading thread. Return the publisher's
        failure if it ended the run, else None.
        """
        threads = [
            threading.Thread(
                target=self._guarded,
                args=("relay reader", lambda: self._read(changed)),
                name="relay reader",
                daemon=True,
            ),
            threading.Thread(
                target=self._guarded, args=("relay settlement", self._settle), name="relay settlement", daemon=True
            ),
        ]
        for thread in threads:
            thread.start()
        try:
            failure = self._publish(keep_running)
        finally:
            self._ending.set()
            self._acknowledged.put(None)
            with waiting_for("the relay's reader and settlement"):
                for thread in threads:
                    thread.join()
            self._spans.end(None)
        if self._error is not None:
            raise self._error
        return failure

    def _guarded(self, name: str, stage: Callable[[], None]) -> None:
        try:
            with loop(name):
                stage()
        except BaseException as error:  # noqa: BLE001 `run` raises it again
            self._error = self._error or error
            self._ending.set()

    def _read(self, changed: Callable[[], bool]) -> None:
        wait = _MIN_READ_WAIT
        scope_check_at, sweep_at = time.monotonic() + _SCOPE_CHECK_INTERVAL, time.monotonic() + _SWEEP_INTERVAL
        while not self._ending.is_set():
            if time.monotonic() > scope_check_at:
                scope_check_at = time.monotonic() + _SCOPE_CHECK_INTERVAL
                self._counters.set_gaps(self._reader.waiting)
                if changed():
                    break
            with waiting_for("acknowledgements"):
                has_room = self._in_flight.wait_for_room(0.1)
            if not has_room:
                continue
            rows = self._reader.read(self._in_flight.positions)
            if rows:
                metrics.RELAY_BATCH.observe(len(rows))
                self.refused = self._claim(rows)
                if self.refused:
                    break
                self._in_flight.add(rows)
                self._pages.put(rows)
                wait = _MIN_READ_WAIT
            if len(rows) < _FULL_PAGE:
                self._ending.wait(wait)
                wait = min(wait * _READ_WAIT_GROWTH, _MAX_READ_WAIT)
            if time.monotonic() > sweep_at:
                sweep_at = time.monotonic() + _SWEEP_INTERVAL
                if found := self._reader.sweep(self._in_flight.positions()):
                    self._counters.count_swept(found)
                    break  # the reader of the next term finds them
        self._ending.set()

    def _publish(self, keep_running: Callable[[], bool]) -> Reports | None:
        outstanding, silence = 0, Silence()
        while keep_running() and not self._ending.is_set():
            rows = self._next_page(_REPORT_INTERVAL if outstanding else _IDLE_REPORT_INTERVAL)
            if rows:
                self._times.sending(rows)
                messages = [message(row) for row in rows]
                self._spans.sending(messages)
                with waiting_for("the broker"):  # while its client's queue is full
                    self._publisher.send(messages)
                outstanding += len(rows)
            reports = self._publisher.reports(0)
            outstanding -= self._hand_over(reports)
            if reports.failed:
                self._spans.end(reports)
                return reports
            silence.note(outstanding, reported=bool(reports.confirmed) or not outstanding)
        return self._drain(outstanding)

    def _drain(self, outstanding: int) -> Reports | None:
        deadline = time.monotonic() + _DRAIN_TIMEOUT
        while outstanding > 0 and time.monotonic() < deadline and self._error is None:
            reports = self._publisher.reports(0.05)
            outstanding -= self._hand_over(reports)
            if reports.failed:
                return reports
        if outstanding > 0:
            logger.warning(
                "%d events in flight were not acknowledged in %g s; they will be sent again",
                outstanding,
                _DRAIN_TIMEOUT,
            )
            return Reports(lost="no acknowledgement before the end of the term")
        return None

    def _next_page(self, wait: float) -> list[Row]:
        try:
            with waiting_for("events"):
                return self._pages.get(timeout=wait)
        except queue.Empty:
            return []

    def _hand_over(self, reports: Reports) -> int:
        # crash point: published, not settled -> sent again
        if reports.confirmed:
            self._counters.count_published(len(reports.confirmed))
            self._spans.confirmed(reports.confirmed)
            self._owed.update(reports.confirmed)
            self._times.confirmed(self._owed)
            self._acknowledged.put(reports.confirmed)
        return len(reports.confirmed)

    def _settle(self) -> None:
        ended = False
        while not ended:
            with waiting_for("acknowledgements"):
                positions = list(self._acknowledged.get() or ())
            ended = not positions
            while not self._acknowledged.empty():
                more = self._acknowledged.get()
                ended = ended or more is None
                positions.extend(more or ())
            if positions:
                self._settlement.settle(positions)
                self._owed.difference_update(positions)
                self._in_flight.remove(positions)
                self._ending.wait(_SETTLE_INTERVAL)
