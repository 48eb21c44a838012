"""Read, publish, settle: three stages, each on its own thread and connection, with several batches in flight.

    reader --rows--> publisher --acknowledged positions--> settlement

It runs until it is told to end, a stage fails, or the publisher does. It judges nothing: what a failure means is the
relay's to say.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence

from eventkit.relay.in_flight import InFlight
from eventkit.storage.outbox import GapReader, Row, Settlement, message
from eventkit.transports import Publisher, Reports

logger = logging.getLogger("eventkit.relay")

Claim = Callable[[Collection[str]], dict[str, str]]
"""Claims topics, and returns why not, for those that must not be sent to."""

_BUSY, _IDLE, _GROWTH = 0.001, 0.07, 1.4  # seconds between reads: shortest, longest; and the step between
_MANY = 500  # rows of a page after which the next is read without a pause
_GATHER = 0.02  # seconds between two settlements: nobody waits for them, and one of many costs as much as one of few
_REPORTS = 0.005  # seconds between two looks for reports: only their settlement waits for them
_CALM = 0.1  # the same where none is outstanding
_SILENCE = 3.0  # seconds without an acknowledgement until it is said
_DRAIN = 3.0  # seconds for what is in flight at the end
_LOOK = 1.0  # seconds between two looks at what is parked and held
_SWEEP = 300.0  # seconds between two looks for what was passed over


class Silence:
    """Says when the broker acknowledges nothing for a while, and when it does again: a client may say nothing."""

    def __init__(self) -> None:
        """Begin to listen."""
        self._heard = time.monotonic()
        self._told = False

    def listen(self, outstanding: int, *, heard: bool) -> None:
        """Take note of whether something was heard, or nothing is owed."""
        now = time.monotonic()
        if heard:
            if self._told:
                logger.info("the broker acknowledges again after %.0f s", now - self._heard)
            self._heard, self._told = now, False
        elif now - self._heard > _SILENCE and not self._told:
            logger.warning("the broker is away or slow: %d events wait to be acknowledged; trying on", outstanding)
            self._told = True


class Pipeline:
    """One run of the three stages over a reader, a publisher and a settlement."""

    def __init__(
        self, reader: GapReader, publisher: Publisher, settlement: Settlement, *, owed: set[int], claim: Claim
    ) -> None:
        """Connect the stages; `claim` is asked before anything is sent to a topic.

        `owed` holds what is acknowledged and not settled, also after a failure.
        """
        self._reader = reader
        self._publisher = publisher
        self._settlement = settlement
        self._owed = owed
        self._flight = InFlight()
        self._pages: queue.SimpleQueue[list[Row]] = queue.SimpleQueue()
        self._acknowledged: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._claim = claim
        self.refused: dict[str, str] = {}  # topic -> reason, where a claim was refused and ended the run

    def run(self, goes_on: Callable[[], bool], changed: Callable[[], bool]) -> Reports | None:
        """Work while `goes_on`, asked at each step, and not `changed`, asked each second by the reading thread.

        Then settle what is in flight.

        Return the publisher's failure, if that is what ended it.
        """
        threads = [
            threading.Thread(
                target=self._guarded, args=(lambda: self._read(changed),), name="relay reader", daemon=True
            ),
            threading.Thread(target=self._guarded, args=(self._settle,), name="relay settlement", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            failure = self._publish(goes_on)
        finally:
            self._ending.set()
            self._acknowledged.put(None)
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error
        return failure

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # noqa: BLE001 it is raised again by the thread that waits for this one
            self._error = self._error or error
            self._ending.set()

    def _read(self, changed: Callable[[], bool]) -> None:
        wait, look, sweep = _BUSY, time.monotonic() + _LOOK, time.monotonic() + _SWEEP
        while not self._ending.is_set():
            if time.monotonic() > look:
                look = time.monotonic() + _LOOK
                if changed():
                    break
            if not self._flight.wait_for_room(0.1):
                continue
            rows = self._reader.read(self._flight.positions)
            if rows:
                self.refused = self._claim({row[1] for row in rows})
                if self.refused:
                    break
                self._flight.add(rows)
                self._pages.put(rows)
                wait = _BUSY
            if len(rows) < _MANY:
                self._ending.wait(wait)
                wait = min(wait * _GROWTH, _IDLE)
            if time.monotonic() > sweep:
                sweep = time.monotonic() + _SWEEP
                if self._reader.sweep(self._flight.positions()):
                    break  # a fresh start of the reader finds them
        self._ending.set()

    def _publish(self, goes_on: Callable[[], bool]) -> Reports | None:
        outstanding, silence = 0, Silence()
        while goes_on() and not self._ending.is_set():
            rows = self._next_page(_REPORTS if outstanding else _CALM)
            if rows:
                self._publisher.send([message(row) for row in rows])
                outstanding += len(rows)
            reports = self._publisher.reports(0)
            outstanding -= self._hand_over(reports)
            if reports.failed:
                return reports
            silence.listen(outstanding, heard=bool(reports.confirmed) or not outstanding)
        return self._drain(outstanding)

    def _drain(self, outstanding: int) -> Reports | None:
        deadline = time.monotonic() + _DRAIN
        while outstanding > 0 and time.monotonic() < deadline and self._error is None:
            reports = self._publisher.reports(0.05)
            outstanding -= self._hand_over(reports)
            if reports.failed:
                return reports
        if outstanding > 0:
            logger.warning(
                "%d events in flight were not acknowledged in %g s; they will be sent again", outstanding, _DRAIN
            )
            return Reports(lost="no acknowledgement while coming to an end")
        return None

    def _next_page(self, wait: float) -> list[Row]:
        try:
            return self._pages.get(timeout=wait)
        except queue.Empty:
            return []

    def _hand_over(self, reports: Reports) -> int:
        # crash point: published, not settled -> sent again
        if reports.confirmed:
            self._owed.update(reports.confirmed)
            self._acknowledged.put(reports.confirmed)
        return len(reports.confirmed)

    def _settle(self) -> None:
        ended = False
        while not ended:
            positions = list(self._acknowledged.get() or ())
            ended = not positions
            while not self._acknowledged.empty():
                more = self._acknowledged.get()
                ended = ended or more is None
                positions.extend(more or ())
            if positions:
                self._settlement.settle(positions)
                self._owed.difference_update(positions)
                self._flight.remove(positions)
                self._ending.wait(_GATHER)
