"""One projection with all that it needs, term after term: connects, subscribes, runs, and lets go of everything.

A term ends when it is asked to, when it was idle for long enough, when the store has a new category to subscribe to, or
with an error, after which the next term begins from nothing. Called by `supervision`.
"""

import logging
import math
import os
import socket
import time
from contextlib import ExitStack

import msgspec

from eventkit.config import Settings
from eventkit.errors import DatabaseUnavailable
from eventkit.event_loop import CallInterrupted
from eventkit.projection.apply import BatchApplier, Recent
from eventkit.projection.batch import Source
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection
from eventkit.projection.failure import Breakers, SetAside
from eventkit.projection.run.backfill import EVERY, Backfill
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.consumer_groups import broker_of, remove_abandoned
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.resume import Begin
from eventkit.projection.run.sources import StoreSource, TransportSource
from eventkit.projection.run.topics import known_topics, topics_of_store
from eventkit.storage.events import refuse_unknown_types
from eventkit.storage.outbox import READING, EventLog, Lease
from eventkit.storage.retention import pruned_categories
from eventkit.transports.base import Flag, Transport, open_transport
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

_LOOK = 5.0  # seconds between looks for categories that the store did not have before


class SourceOptions(msgspec.Struct, frozen=True):
    """What an operator says about a projection's source."""

    from_store: bool = False
    group: str | None = None  # the projection's own unless given
    topics: tuple[str, ...] = ()
    store_url: str | None = None  # where the event store is not in the read models' database
    until_idle: float | None = None  # seconds
    begin: Begin = Begin.REFUSE  # where what acts begins whose place at the broker is gone


class ProjectionRunner:
    """One projection, by settings."""

    def __init__(self, projection: Projection, settings: Settings, wanted: SourceOptions) -> None:
        """Connect to nothing yet."""
        self.counters = Counters()
        self._breakers = Breakers(projection.name)  # what is away stays away from one term to the next
        self._known = False  # whether this process has seen the projection's row
        self._waits = False  # for a first topic
        self._since = 0.0  # when that began
        self._join_by = math.inf  # when a broker that keeps no history may have lost something again
        self._projection = projection
        self._settings = settings
        self._wanted = wanted
        self._connections = Connections(projection.name, settings, wanted.store_url)

    def preflight(self) -> None:
        """Check database, broker and projection before the start; raise the first error. A remote store may be away."""
        with ExitStack() as stack:
            projector = self._projector(stack, Stop())
            self._reach_store()
            if not self._wanted.from_store:
                self._reach_topics(stack)
            projector.register()
            if not self._wanted.from_store:
                self._remove_abandoned(stack)
            self._tell_pruned(projector)

    def redrive(self, stop: Stop, reserved_for: str) -> None:
        """Redrive what an operator has asked this process to do by its own code, whoever else runs the projection."""
        with ExitStack() as stack:
            projector = self._projector(stack, stop)
            projector.register()
            while projector.redrive_asked(reserved_for):
                pass

    def work(self, stop: Stop) -> None:
        """Run terms until one is the last."""
        try:
            while not stop.is_set() and self._term(stop):
                pass
        except CallInterrupted:
            name = self._projection.name
            logger.info("projector %s: a handler was under way and is cancelled: it will be done again", name)

    def _term(self, stop: Stop) -> bool:
        """Return whether another term shall follow."""
        with ExitStack() as stack:
            projector = self._projector(stack, stop, lanes=self._projection.lanes)
            projector.start(known=self._known)
            self._known = True
            if self._wanted.from_store:
                return self._from_store(projector, stack)
            return self._from_transport(projector, stack)

    def _projector(self, stack: ExitStack, stop: Stop, *, lanes: int = 1) -> Projector:
        applying = self._applying(stack, stop)
        others = [self._applying(stack, stop, applying.recent) for _ in range(1, lanes)]
        history = self._connections.history(applying.workspace.connection)
        stack.callback(history.close)
        aside, schema = SetAside(self._projection.handlers, self._breakers), self._settings.schema
        projector = Projector(applying, history=history, schema=schema, stop=stop, aside=aside, lanes=others)
        projector.counters = self.counters
        return projector

    def _applying(self, stack: ExitStack, stop: Stop, recent: Recent | None = None) -> BatchApplier:
        """Return what applies, on a connection of its own."""
        connection = self._connections.batches(self._projection.idle_limit)
        workspace = self._projection.workspace(connection, interrupted=stop.is_set)
        stack.callback(workspace.close)
        schema, opening = self._settings.schema, self._connections.opening(connection, stack)
        return BatchApplier(self._projection, workspace, schema=schema, decrypter=opening, recent=recent)

    def _tell_pruned(self, projector: Projector) -> None:
        """Warn of a read model that will lack events, where the transport does not have them either."""
        if self._wanted.store_url or not projector.begins():
            return
        with self._connections.store("projector topics") as connection:
            counts = pruned_categories(connection, self._settings.schema)
        pruned = {category: count for category, count in counts.items() if self._projection.reads(category)}
        if pruned:
            logger.warning(
                "projector %s begins on a store from which events were pruned (%s): its read model will lack them, "
                "unless the transport still has them",
                self._projection.name,
                ", ".join(f"{count:,} of {category}" for category, count in pruned.items()),
            )

    def _reach_topics(self, stack: ExitStack) -> None:
        transport, topics = self._transport(stack), self._topics()
        transport.check(topics)
        transport.partitions(topics)

    def _remove_abandoned(self, stack: ExitStack) -> None:
        """Remove the groups that deleted projections have left at the broker."""
        transport, broker = self._transport(stack), broker_of(self._settings.require_transport())
        with self._connections.read_models("projector groups", autocommit=True) as connection:
            remove_abandoned(connection, self._settings.schema, transport, broker)

    def _reach_store(self) -> None:
        try:
            with self._connections.store("projector reader") as store:
                projection = self._projection
                refuse_unknown_types(store, self._settings.schema, projection.catalog, categories=projection.categories)
        except DatabaseUnavailable as error:
            if self._wanted.from_store:
                raise
            logger.warning("projector %s cannot repair gaps until the store is there: %s", self._projection.name, error)

    def _from_transport(self, projector: Projector, stack: ExitStack) -> bool:
        topics = self._topics()
        if not topics:
            if not self._waits:
                logger.info("%s waits for the first event of its store: no topic is known yet", self._projection.name)
            self._waits = True
            self._since = self._since or time.monotonic()
            limit = self._wanted.until_idle
            return not projector.stop.wait(_LOOK / 5) and (limit is None or time.monotonic() - self._since <= limit)
        source = self._subscribe(topics, projector, stack)
        looked = time.monotonic()

        def goes_on() -> bool:
            nonlocal looked
            if time.monotonic() - looked > _LOOK and not self._told():
                looked = time.monotonic()
                return self._topics() == topics
            return time.monotonic() < self._join_by and not self._is_idle(projector, source)

        projector.run(source, goes_on=goes_on)
        return not self._has_ended(projector, source)

    def _from_store(self, projector: Projector, stack: ExitStack) -> bool:
        held = self._store_source(projector, stack)
        if held is None:
            return False
        lease, source = held

        def goes_on() -> bool:
            lease.check()
            return not self._is_idle(projector, source)

        projector.worked = time.monotonic()  # another process may have had the lease for long
        projector.run(source, goes_on=goes_on)
        self._has_ended(projector, source)
        return False

    def _store_source(self, projector: Projector, stack: ExitStack) -> tuple[Lease, StoreSource] | None:
        """Wait for the lease of the one process that reads the store; None when asked to stop before."""
        name = f"projector:{self._projection.name}"
        holding = self._connections.read_models("projector lease", autocommit=True)
        lease = Lease(holding, self._settings.schema, name=name, owner=f"{socket.gethostname()}:{os.getpid()}")
        stack.callback(lease.release)
        if not lease.acquire(projector.stop.is_set):
            return None
        position = projector.start(known=True)  # after the lease: it has moved on under the process that held it before
        reading = self._connections.store("projector reader", options=READING)
        stack.callback(reading.close)
        drawn = EventLog(reading, self._settings.schema).drawn()
        if drawn is not None and drawn < position:
            logger.warning(
                "%s has read the store up to position %d, and the store has drawn %d: it was restored, or lost commits "
                "in a failover. All of it is read again, and events that were applied are passed over",
                self._projection.name, position, drawn,
            )  # fmt: skip
            projector.read_again()
            position = 0
        return lease, StoreSource(reading, self._settings.schema, after=position, limit=self._projection.received)

    def _subscribe(self, topics: list[str], projector: Projector, stack: ExitStack) -> Source:
        transport = self._transport(stack)
        group = self._wanted.group or projector.group
        if not self._wanted.group:
            projector.follows(group, broker_of(self._settings.require_transport()), topics)
        subscription = transport.subscribe(topics, group, resume=projector.resuming(self._wanted.begin))
        source = self._projection.reading(
            TransportSource(subscription, limit=self._projection.received, prompt=self._projection.prompt),
            transport,
            lambda: self._connections.read_models("responder", autocommit=True),
        )
        stack.callback(source.close)
        if Flag.NO_HISTORY in transport.flags:
            self._join_by = time.monotonic() + EVERY
            self._join(projector, group)
        logger.info("projector %s reads %s", self._projection.name, ", ".join(topics))
        return source

    def _join(self, projector: Projector, group: str) -> None:
        """Take from the store what the group may not have brought; a store elsewhere may be away, once it was read."""
        position = projector.register()
        try:
            with self._connections.store("projector topics") as connection:
                horizon = EventLog(connection, self._settings.schema).horizon().position
        except DatabaseUnavailable as error:
            if not position or not self._wanted.store_url:
                raise
            logger.warning(
                "projector %s takes nothing from the store until it is there: %s", projector.projection.name, error
            )
            return
        if horizon == position:
            return
        with ExitStack() as stack:
            held = self._store_source(projector, stack)
            if held is None:
                return
            lease, source = held

            def goes_on() -> bool:
                lease.check()
                return True

            Backfill(projector, source, group).join(horizon, goes_on)

    def _transport(self, stack: ExitStack) -> Transport:
        transport = open_transport(self._settings.require_transport(), self._settings.transport_options)
        stack.callback(transport.close)
        return transport

    def _told(self) -> bool:
        """Whether the topics do not depend on what the store has."""
        return bool(self._wanted.topics or self._projection.categories)

    def _topics(self) -> list[str]:
        if known := known_topics(self._projection, self._wanted.topics):
            return known
        with self._connections.store("projector topics") as connection:
            return topics_of_store(self._projection, connection, self._settings.schema)

    def _has_ended(self, projector: Projector, source: Source) -> bool:
        """Whether it was idle for long enough; ProjectionError where streams wait all the same."""
        if self._is_idle(projector, source) and not projector.stop.is_set():
            projector.refuse_waiting()
        return self._is_idle(projector, source)

    def _is_idle(self, projector: Projector, source: Source) -> bool:
        """Whether nothing came for long enough, from when something could have come."""
        limit = self._wanted.until_idle
        if limit is None:
            return False
        if not source.ready or projector.has_attempts:
            projector.worked = time.monotonic()
            return False
        return time.monotonic() - projector.worked > limit
