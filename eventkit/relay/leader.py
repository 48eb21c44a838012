"""The relay that holds the lease.

Term after term, each from a fresh start of the reader, each ended by a change or a failure.

What a publisher's failure means is judged here and only here. *Of the event*: the culprit is searched and its stream
parked. *Of the topic*: the topic is held for a while, nobody is parked. *Anything else*: raised, and everything is
tried again.
"""

import logging
import time
from typing import Any

import psycopg

from eventkit.errors import TransportUnavailable
from eventkit.relay.bisect import send_one_by_one
from eventkit.relay.pipeline import Claim, Pipeline
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.events import record_held
from eventkit.storage.outbox import GapReader, Lease, Outbox, Scope, Settlement
from eventkit.transports import Reports
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.relay")

_HOLD = 10.0  # seconds until a topic that cannot be used is tried again
_SEARCH_PAGE = 1_000  # events a search sends at once


class Leader:
    """One epoch's work. `owed` is what the transport has acknowledged and nobody has settled yet.

    It outlives the epoch.
    """

    def __init__(
        self, publishing: PublisherLifecycle, settlement: Settlement, lease: Lease, *, owed: set[int], claim: Claim
    ) -> None:
        """Know of no trouble yet; `claim` claims topics, and says which it must not send to."""
        self._claim = claim
        self._publishing = publishing
        self._settlement = settlement
        self._lease = lease
        self._owed = owed
        self._suspects_to = 0  # the highest position that a broker refused: search up to it
        self._held_until: dict[str, float] = {}
        self._told: dict[str, str] = {}  # why topics are held, until it is recorded

    def settle_owed(self) -> None:
        """Settle what is acknowledged: that is true whatever happened to the rest."""
        self._settlement.settle(list(self._owed))
        self._owed.clear()

    def work(self, reading: psycopg.Connection[Any], schema: str, part: tuple[int, int], stop: Stop) -> None:
        """Work one term: until what is parked or held changes, the publisher fails, or `stop`."""
        parked = Outbox(reading, schema).parked()
        scope = Scope(part=part[0], of=part[1], held=self._held(), parked=parked)
        outbox = Outbox(reading, schema, scope=scope)
        failure = self._search(outbox, dict(parked.streams)) if self._suspects_to else self._stream(outbox, scope, stop)
        if failure is not None:
            self._judge(self._publishing.abandon(failure))
        if self._told:
            record_held(reading, schema, self._told)
            self._told = {}

    def _stream(self, outbox: Outbox, scope: Scope, stop: Stop) -> Reports | None:
        reader = GapReader(outbox)
        reader.start_pending()
        pipeline = Pipeline(reader, self._publishing.publisher, self._settlement, owed=self._owed, claim=self._claim)

        def goes_on() -> bool:
            self._lease.check()
            return not stop.is_set()

        def changed() -> bool:
            return self._held() != list(scope.held) or outbox.parked() != scope.parked

        failure = pipeline.run(goes_on, changed)
        self._hold(pipeline.refused)
        return failure

    def _search(self, outbox: Outbox, parked: dict[str, int]) -> Reports | None:
        reader = GapReader(outbox, limit=_SEARCH_PAGE)
        reader.start_pending()
        while rows := reader.read():
            failure = send_one_by_one(rows, self._publishing, self._settlement, parked=parked, check=self._lease.check)
            if failure is not None:
                return failure
            if rows[-1][0] >= self._suspects_to:
                break
        self._suspects_to = 0
        return None

    def _judge(self, failure: Reports) -> None:
        self._owed.update(failure.confirmed)
        self.settle_owed()
        if len(failure.refused) == 1:  # it was alone in its batch, or with equals: no search will say more
            self._settlement.park(*failure.refused.popitem())
        elif failure.refused:
            self._suspects_to = max(failure.refused)
            logger.warning(
                "the broker refused %d events; looking for the culprit: %s",
                len(failure.refused),
                next(iter(failure.refused.values())),
            )
        elif failure.held:
            self._hold(failure.held)
        else:
            raise TransportUnavailable(failure.lost)

    def _hold(self, reasons: dict[str, str]) -> None:
        for topic, reason in reasons.items():
            logger.error(
                "topic %s is held, its events stay in the outbox; trying again in %g s: %s", topic, _HOLD, reason
            )
            self._held_until[topic] = time.monotonic() + _HOLD
            self._told[topic] = reason

    def _held(self) -> list[str]:
        return sorted(topic for topic, until in self._held_until.items() if until > time.monotonic())
