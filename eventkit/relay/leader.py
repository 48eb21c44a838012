"""The relay's work on the parts that it holds, in terms.

A term begins with a new reader, over all parts. It ends when the parts, the parked streams or the held topics change,
or with a failure. A topic is held for a while after the broker has refused it, and as long as an operator has paused
it.

Only this module decides how a publisher's failure is handled. An *event* was refused: find it and park its stream. A
*topic* is unusable: hold the topic for a while and park nothing. *Any other failure* is raised, and the relay starts
again.
"""

import logging
import time
from typing import Any

import psycopg

from eventkit.errors import TransportUnavailable
from eventkit.observability import metrics
from eventkit.observability.rarely import Rarely
from eventkit.relay.bisect import send_by_halves
from eventkit.relay.part_keeper import PartKeeper
from eventkit.relay.pipeline import Claim, Pipeline
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.events import record_held
from eventkit.storage.outbox import GapReader, Outbox, RelayParking, Scope, Settlement
from eventkit.transports import Reports
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.relay")

_HOLD_REPORT_INTERVAL = 60.0  # seconds between two lines about a topic that stays unusable
_HOLD_TIME = 10.0  # seconds until an unusable topic is tried again
_MODE_CHECK_INTERVAL = 0.5  # seconds between looks at the mode while Debezium sends
_SEARCH_PAGE = 1_000  # events that a search sends at once


class Leader:
    """The work on one set of parts.

    `owed` holds positions that the broker has acknowledged and that are not settled yet; it outlives the set.
    """

    def __init__(
        self,
        publishers: PublisherLifecycle,
        settlement: Settlement,
        keeper: PartKeeper,
        *,
        owed: set[int],
        claim: Claim,
    ) -> None:
        """Work on the parts of `settlement`; `claim` claims topics and returns the refused ones with reasons."""
        self._claim = claim
        self._publishers = publishers
        self._settlement = settlement
        self._parking = RelayParking(settlement)
        self._keeper = keeper
        self._parts = settlement.parts
        self._owed = owed
        self._suspects_to = 0  # the highest position that the broker refused; the search ends there
        self._rarely = Rarely(logger, every=_HOLD_REPORT_INTERVAL)
        self._held_until: dict[str, float] = {}  # topic -> time on the monotonic clock
        self._unrecorded: dict[str, str] = {}  # topic -> reason of a hold that is not in the database yet
        self._paused: dict[str, str] = {}  # topic -> who has paused it, as it was last read

    def settle_owed(self) -> None:
        """Settle the acknowledged events; they are done, even if others failed."""
        self._settlement.settle(list(self._owed))
        self._owed.clear()

    def work(self, reading: psycopg.Connection[Any], schema: str, stop: Stop) -> None:
        """Work one term: until its scope changes, the publisher fails, or `stop` is set."""
        now, parts = Outbox(reading, schema), self._parts
        scope = Scope(parts=sorted(parts.epochs), of=parts.of, held=self._held(now), parked=now.parked())
        if not scope.parked.sends:
            self._keeper.check()
            stop.wait(_MODE_CHECK_INTERVAL)  # Debezium sends the events
            return
        outbox = Outbox(reading, schema, scope=scope)
        failure = (
            self._search(outbox, dict(scope.parked.streams)) if self._suspects_to else self._stream(outbox, scope, stop)
        )
        if failure is not None:
            self._handle(self._publishers.abandon(failure))
        if self._unrecorded:
            record_held(reading, schema, self._unrecorded)
            self._unrecorded = {}

    def _stream(self, outbox: Outbox, scope: Scope, stop: Stop) -> Reports | None:
        reader = GapReader(outbox)
        reader.start_pending()
        pipeline = Pipeline(reader, self._publishers, self._settlement, owed=self._owed, claim=self._claim)

        def keep_running() -> bool:
            self._keeper.check()
            return not stop.is_set() and not self._keeper.is_changed(self._parts)

        def changed() -> bool:
            return self._held(outbox) != list(scope.held) or outbox.parked() != scope.parked

        failure = pipeline.run(keep_running, changed)
        self._hold(pipeline.refused)
        return failure

    def _search(self, outbox: Outbox, parked: dict[str, int]) -> Reports | None:
        reader = GapReader(outbox, limit=_SEARCH_PAGE)
        reader.start_pending()
        while rows := reader.read():
            failure = send_by_halves(
                rows, self._publishers, self._settlement, parking=self._parking, parked=parked, check=self._keeper.check
            )
            if failure is not None:
                return failure
            if rows[-1][0] >= self._suspects_to or self._keeper.is_changed(self._parts):
                break
        self._suspects_to = 0
        return None

    def _handle(self, failure: Reports) -> None:
        metrics.PUBLISHER_FAILURES.add(1, "refused" if failure.refused else "held" if failure.held else "lost")
        self._owed.update(failure.confirmed)
        self.settle_owed()
        if len(failure.refused) == 1:  # it was alone, or the broker named it alone: a search finds no other
            self._parking.park(*failure.refused.popitem())
        elif failure.refused:
            self._suspects_to = max(failure.refused)
            logger.warning(
                "the broker refused %d events; searching for the one at fault: %s",
                len(failure.refused),
                next(iter(failure.refused.values())),
            )
        elif failure.held:
            self._hold(failure.held)
        else:
            raise TransportUnavailable(failure.lost)

    def _hold(self, reasons: dict[str, str]) -> None:
        for topic, reason in reasons.items():
            self._rarely.error(
                "topic %s is held, its events stay in the outbox; trying again in %g s: %s",
                *(topic, _HOLD_TIME, reason),
                kind=(topic, reason),
                fields={"topic": topic, "error_type": "topic_held"},
            )
            self._held_until[topic] = time.monotonic() + _HOLD_TIME
            self._unrecorded[topic] = reason

    def _held(self, outbox: Outbox) -> list[str]:
        """Return the topics to leave out: refused by the broker a moment ago, or paused."""
        refused = {topic for topic, until in self._held_until.items() if until > time.monotonic()}
        metrics.HELD_TOPICS.set(len(refused))
        paused = outbox.paused()
        for topic in paused.keys() - self._paused.keys():
            logger.info("topic %s is paused by %s: its events stay in the outbox", topic, paused[topic])
        for topic in self._paused.keys() - paused.keys():
            logger.info("topic %s is resumed: its events are sent, in order", topic)
        self._paused = paused
        return sorted(refused | paused.keys())
