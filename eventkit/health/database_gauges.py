"""The gauges of the whole database, asked from the insights: each role asks for the part that it answers for.

    relay      the publisher, the outbox, the relay's parts, all projections, dead letters, deadlines, and the inbox
    projector  its own projections, with their dead letters and the inbox: its database may be another one
    timers     the publisher, because a relay need not run where Debezium sends, and the deadlines

Several processes may answer the same: take the highest value, not the sum.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice

from psycopg.errors import InsufficientPrivilege

from eventkit.config import Settings
from eventkit.errors import StorageError
from eventkit.insights import Insights, ProjectionInsight, PublisherInsight
from eventkit.observability import metrics
from eventkit.observability.instruments import Reading
from eventkit.storage.db import connect
from eventkit.storage.debezium import Mode

logger = logging.getLogger("eventkit.health")

Part = Callable[[Insights], Iterator[Reading]]

_MAX_PROJECTIONS = 200
_MAX_LETTER_GROUPS = 1_000
_SESSION = {"statement_timeout": "4s", "lock_timeout": "1s", "default_transaction_read_only": "on"}


class DatabaseGauges:
    """The questions of one process about its database."""

    def __init__(self, settings: Settings, *, role: str) -> None:
        self._settings = settings
        self._role = role
        self._denied: set[str] = set()  # the parts that this role may not read
        self._projections: Collection[str] = ()  # the names of those that a projector runs

    def show(self, projections: Collection[str]) -> None:
        """Ask from now on for the projections of these names, which the projector runs."""
        self._projections = projections

    def read(self) -> list[Reading]:
        """Ask over a new connection; raise a StorageError if the database does not answer."""
        settings = self._settings
        with connect(
            settings.require_database(), name="metrics", schema=settings.schema, autocommit=True, options=_SESSION
        ) as connection:
            insights = Insights(connection, settings.schema)
            return [reading for part in self._parts() for reading in self._permitted(part, insights)]

    def _parts(self) -> Sequence[Part]:
        if self._role == "timers":
            return [_publisher, _timers]
        if self._role == "projector":
            return [self._all_of_projections, self._letters, _inbox]
        return [_outbox, _timers, self._all_of_projections, self._letters, _inbox]

    def _permitted(self, part: Part, insights: Insights) -> list[Reading]:
        """Return the readings of a part; none, with one log line, where this role lacks a privilege for it."""
        try:
            return list(part(insights))
        except StorageError as error:
            if not isinstance(error.__cause__, InsufficientPrivilege):
                raise
            if part.__name__ not in self._denied:
                self._denied.add(part.__name__)
                logger.info("some metrics of the database are left out: %s; `grant eventkit_reader` adds them", error)
            return []

    def _all_of_projections(self, insights: Insights) -> Iterator[Reading]:
        for projection in self._read_projections(insights):
            yield from _projection(projection)

    def _read_projections(self, insights: Insights) -> Iterator[ProjectionInsight]:
        if self._role == "relay":
            yield from islice(_all_projections(insights), _MAX_PROJECTIONS)
            return
        for name in self._projections:
            found = insights.projection(name)
            if found is not None:
                yield found

    def _letters(self, insights: Insights) -> Iterator[Reading]:
        """Yield the letters by who parked them and cause, summed over categories."""
        counts: dict[tuple[str, str], int] = {}
        for group in insights.dead_letter_groups(limit=_MAX_LETTER_GROUPS):
            if not group.is_stale and (self._role == "relay" or group.parked_by in self._projections):
                key = group.parked_by, group.cause
                counts[key] = counts.get(key, 0) + group.amount.value
        for key, count in counts.items():
            yield metrics.DEAD_LETTERS, count, key


def _inbox(insights: Insights) -> Iterator[Reading]:
    yield metrics.INBOX_ROWS, insights.sizes().inbox.value, ()


def _all_projections(insights: Insights) -> Iterator[ProjectionInsight]:
    page = insights.projections()
    yield from page.items
    while page.next is not None:
        page = insights.projections(after=page.next)
        yield from page.items


def _outbox(insights: Insights) -> Iterator[Reading]:
    relay = insights.relay()
    yield from _mode(relay)
    yield metrics.UNSENT, relay.unsent.value, ()
    yield metrics.UNSENT_AGE, _age(relay.oldest_unsent_at), ()
    yield metrics.PARTS_MISSING, len(relay.parts_without_relay), ()
    yield metrics.PAUSED_TOPICS, len(relay.paused_topics), ()


def _publisher(insights: Insights) -> Iterator[Reading]:
    return _mode(insights.publisher())


def _mode(publisher: PublisherInsight) -> Iterator[Reading]:
    for mode in Mode:
        yield metrics.PUBLISHER_MODE, mode == publisher.mode, (mode.value,)
    if publisher.debezium is not None:
        yield metrics.DEBEZIUM_READS, publisher.debezium.is_read, ()
        yield metrics.DEBEZIUM_BEHIND, publisher.debezium.behind, ()


def _projection(projection: ProjectionInsight) -> Iterator[Reading]:
    labels = (projection.name,)
    if projection.lag_events is not None:
        yield metrics.LAG_EVENTS, projection.lag_events.value, labels
    if projection.lag_seconds is not None:
        yield metrics.LAG_SECONDS, projection.lag_seconds, labels
    yield metrics.PARKED_STREAMS, projection.parked_streams.value, labels
    yield metrics.PAUSED, projection.paused is not None, labels
    if projection.rebuild is not None:
        yield metrics.REBUILD_EVENTS, projection.rebuild.total, labels
        yield metrics.REBUILD_DONE, projection.rebuild.done, labels


def _timers(insights: Insights) -> Iterator[Reading]:
    timers = insights.timers()
    yield metrics.TIMERS_OVERDUE, timers.overdue.value, ()
    yield metrics.TIMERS_OVERDUE_AGE, _age(timers.oldest_overdue_at), ()


def _age(at: datetime | None) -> float:
    return 0.0 if at is None else max(0.0, time.time() - at.timestamp())
