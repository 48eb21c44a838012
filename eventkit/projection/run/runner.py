"""Run one projection in terms: connect, subscribe, run the projector, close everything.

A term ends when it is stopped, when it was idle for long enough, when the store has a new category to subscribe to, or
with an error. The next term opens all connections again. Called by `supervision`.
"""

import logging
import math
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from eventkit.config import Settings
from eventkit.errors import ProjectionPaused
from eventkit.event_loop import CallInterrupted
from eventkit.heartbeat import Pace
from eventkit.observability.instruments import Reading
from eventkit.observability.liveness import waiting_for
from eventkit.observability.metrics import LAG_SECONDS
from eventkit.projection.apply import BatchApplier, Recent
from eventkit.projection.batch import Source
from eventkit.projection.counters import Counters
from eventkit.projection.define import AnsweringProjection, Projection
from eventkit.projection.failure import Breakers, SetAside
from eventkit.projection.run.backfill import BACKFILL_INTERVAL, Backfill
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.consumer_groups import broker_of
from eventkit.projection.run.leased_store import LeasedStore
from eventkit.projection.run.preflight import ProjectorPreflight
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.resume import HistoryGone
from eventkit.projection.run.shard_times import ShardTimes
from eventkit.projection.run.source_options import SourceOptions
from eventkit.projection.run.sources import TransportSource
from eventkit.projection.run.topics import TopicChoice
from eventkit.storage.pauses import Pauses
from eventkit.transports.base import Flag
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

_TOPIC_CHECK_INTERVAL = 5.0  # seconds between checks for new categories in the store
_FIRST_TOPIC_INTERVAL = 1.0  # seconds, the same while no topic is known
_PAUSE_CHECK_INTERVAL = 0.5  # seconds between checks whether a paused projection is resumed


class ProjectionRunner:
    """Runs one projection with some settings."""

    def __init__(self, projection: Projection, settings: Settings, options: SourceOptions) -> None:
        self.counters = Counters()
        self._waits: str | None = None  # why it applies nothing now
        self._pace = Pace()
        self._shard_times = ShardTimes()  # of the current term
        self._breakers = Breakers(projection.name)  # they outlive a term: an unavailable service stays so in the next
        self._known = False  # whether this process has seen the projection's row
        self._topicless_since: float | None = None  # on the monotonic clock: when it began to wait for a first topic
        self._backfill_at = math.inf  # when the next backfill is due, at a broker without history
        self._completed: dict[tuple[str, int], tuple[int, ...]] = {}  # places whose earlier events came from the store
        self._projection = projection
        self._settings = settings
        self._options = options
        self._connections = Connections(projection.name, settings, options.store_url)
        self._topics = TopicChoice(projection, options.topics, self._connections, settings.schema)
        self._store = LeasedStore(projection, settings, self._connections)
        self._backfill = Backfill(self._store, self._connections, settings.schema, remote=options.store_url is not None)

    @property
    def waits(self) -> str | None:
        """The reason why it applies nothing now; None while it does."""
        return self._waits

    def wait_because(self, reason: str) -> None:
        """Show in the state why nothing is applied, until the next term reads its source."""
        self._waits = reason

    def state(self) -> dict[str, Any]:
        """Return the state of the projection in this process, for its heartbeat; called by another thread."""
        done = self.counters.applied + self.counters.duplicates
        return {
            "version": self._projection.version,
            "applied": self.counters.applied,
            "duplicates": self.counters.duplicates,
            "parked": self.counters.parked,
            "rate": self._pace.of(done),
            "shards": self._shard_times.reported(),
            "waits": self._waits,
        }

    def readings(self) -> list[Reading]:
        """Return the counters and the lag of the projection in this process, as metrics; called by another thread."""
        name, lag = self._projection.name, self._shard_times.lag_seconds()
        found = self.counters.readings(name)
        return found if lag is None else [*found, (LAG_SECONDS, lag, (name,))]

    def preflight(self) -> None:
        """Connect to everything once; raise the error of the first part that is wrong or missing.

        A store in another database may be away, and the projection may be paused.
        """
        with suppress(ProjectionPaused), ExitStack() as stack:
            checks = ProjectorPreflight(self._projection, self._settings, self._options, self._connections)
            checks.run(self._projector(stack, Stop()), self._topics)

    def redrive(self, stop: Stop, reserved_for: str) -> None:
        """Redrive the streams whose requests are reserved for this process, with its own code.

        Other processes may run the projection meanwhile.
        """
        with ExitStack() as stack:
            projector = self._projector(stack, stop)
            projector.register()
            while projector.redrives.serve(reserved_for):
                pass

    def work(self, stop: Stop) -> None:
        """Run terms until `stop` is set or a term is the last."""
        try:
            while not stop.is_set() and self._term_unless_paused(stop):
                pass
        except CallInterrupted:
            name = self._projection.name
            logger.info("projector %s: a running handler was cancelled: its event will be applied again", name)

    def _term_unless_paused(self, stop: Stop) -> bool:
        """Run a term, or wait for the end of a pause; return whether another term follows.

        Raise ProjectionPaused if the command ends when nothing comes: the events are not applied.
        """
        try:
            return self._term(stop)
        except ProjectionPaused as paused:
            if self._options.until_idle is not None:
                raise
            self._waits = str(paused)
            self._known = True  # only a registered projection is paused
        try:
            return self._await_resume(stop)
        finally:
            self._waits = None

    def _await_resume(self, stop: Stop) -> bool:
        """Wait until the projection is resumed, outside of its consumer group; return False if stopped before."""
        name = self._projection.name
        logger.info("projector %s waits: %s", name, self._waits)
        with self._connections.read_models("projector pause", autocommit=True) as connection:
            pauses = Pauses(connection, self._settings.schema)
            while pauses.find("projection", name) is not None:
                with waiting_for("the end of a pause"):
                    if stop.wait(_PAUSE_CHECK_INTERVAL):
                        return False
        logger.info("projector %s continues: it was resumed", name)
        return True

    def _term(self, stop: Stop) -> bool:
        """Run one term; return whether another follows."""
        with ExitStack() as stack:
            projector = self._projector(stack, stop, lanes=self._projection.lanes)
            projector.start(known=self._known)
            self._known = True
            self._shard_times = projector.shard_times
            if self._options.from_store:
                return self._from_store(projector, stack)
            try:
                with ExitStack() as subscribed:
                    return self._from_transport(projector, subscribed)
            except HistoryGone as gone:
                self._take_history(projector, gone)
                return True

    def _projector(self, stack: ExitStack, stop: Stop, *, lanes: int = 1) -> Projector:
        applier = self._applier(stack, stop)
        others = [self._applier(stack, stop, applier.recent) for _ in range(1, lanes)]
        history = self._connections.history(applier.workspace.connection)
        stack.callback(history.close)
        aside = SetAside(self._projection.handlers, self._breakers)
        return Projector(applier, history=history, stop=stop, aside=aside, lanes=others, counters=self.counters)

    def _applier(self, stack: ExitStack, stop: Stop, recent: Recent | None = None) -> BatchApplier:
        """Return an applier on a new connection."""
        connection = self._connections.batches(self._projection.idle_limit)
        workspace = self._projection.workspace(connection, interrupted=stop.is_set)
        stack.callback(workspace.close)
        schema, decrypter = self._settings.schema, self._connections.decrypter(connection, stack)
        return BatchApplier(self._projection, workspace, schema=schema, decrypter=decrypter, recent=recent)

    def _from_transport(self, projector: Projector, stack: ExitStack) -> bool:
        topics = self._topics.read()
        if not topics:
            return self._wait_for_topic(projector)
        source = self._subscribe(topics, projector, stack)
        checked_at = time.monotonic()

        def keep_running() -> bool:
            nonlocal checked_at
            if time.monotonic() - checked_at > _TOPIC_CHECK_INTERVAL and not self._topics.are_fixed:
                checked_at = time.monotonic()
                return self._topics.read() == topics
            return time.monotonic() < self._backfill_at and not self._is_idle(projector, source)

        self._waits = None
        projector.run(source, keep_running=keep_running)
        return not self._has_ended(projector, source)

    def _wait_for_topic(self, projector: Projector) -> bool:
        """Wait a second for the first event of the store; return False if stopped, or idle for too long."""
        if self._topicless_since is None:
            logger.info("%s waits for the first event of its store: no topic is known yet", self._projection.name)
            self._topicless_since = time.monotonic()
        if projector.stop.wait(_FIRST_TOPIC_INTERVAL):
            return False
        limit = self._options.until_idle
        return limit is None or time.monotonic() - self._topicless_since <= limit

    def _from_store(self, projector: Projector, stack: ExitStack) -> bool:
        leased = self._store.open(projector, stack)
        if leased is None:
            return False
        lease, source = leased

        def keep_running() -> bool:
            lease.check()
            return not self._is_idle(projector, source)

        self._waits = None
        projector.run(source, keep_running=keep_running)
        self._has_ended(projector, source)
        return False

    def _subscribe(self, topics: list[str], projector: Projector, stack: ExitStack) -> Source:
        transport = self._connections.transport(stack)
        group = self._options.group or projector.group
        projector.read_broker(transport.system, group)
        if not self._options.group:
            projector.record_group(group, broker_of(self._settings.require_transport()), topics)
        with waiting_for("the broker"):
            subscription = transport.subscribe(
                topics, group, resume=projector.resume_points(self._options.begin, self._completed)
            )
        source: Source = TransportSource(subscription, limit=self._projection.received, prompt=self._projection.prompt)
        if isinstance(self._projection, AnsweringProjection):
            connect = partial(self._connections.read_models, "responder", autocommit=True)
            source = self._projection.replying(source, transport, connect)
        stack.callback(source.close)
        if Flag.NO_HISTORY in transport.flags:
            self._backfill_at = time.monotonic() + BACKFILL_INTERVAL
            self._backfill.run(projector, group)
        logger.info("projector %s reads %s", self._projection.name, ", ".join(topics))
        return source

    def _take_history(self, projector: Projector, gone: HistoryGone) -> None:
        """Apply from the store the events that the broker has deleted; the next term begins behind them."""
        logger.warning("%s", gone)
        self._backfill.run(projector, self._options.group or projector.group, needed=True)
        if not projector.stop.is_set():
            self._completed.update(gone.begins)

    def _has_ended(self, projector: Projector, source: Source) -> bool:
        """Return whether it was idle for long enough; raise ProjectionError if streams still wait."""
        if self._is_idle(projector, source) and not projector.stop.is_set():
            projector.refuse_waiting()
        return self._is_idle(projector, source)

    def _is_idle(self, projector: Projector, source: Source) -> bool:
        """Return whether it was ready, and received nothing, for longer than `until_idle`."""
        limit = self._options.until_idle
        return limit is not None and projector.idle_seconds(source) > limit
