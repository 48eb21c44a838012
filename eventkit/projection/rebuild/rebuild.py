"""Rebuilds a projection beside the live one, and swaps it in while events keep flowing.

    begin        a generation, its row, and its shadow tables           one transaction
    feed         stream by stream from the store, in parts, in passes   a transaction a chunk
                 or as it comes from the transport (`listening`)        a transaction a batch
    index        the indexes that the rows did not need
    catch up     what came meanwhile, until little is left
    swap         under the projection's lock: the rest, then the names  one transaction
    clean        the old generation's checkpoints and letters

The live read model is served and kept up to date until the swap, and stays as it is where a rebuild dies before it. A
rebuild that is started again takes away what a dead one left and begins anew; with `resume` it goes on where the
checkpoints are, which is right only with the same code. Called by `eventkit projection rebuild`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any

import msgspec
import psycopg

from eventkit.config import Settings
from eventkit.errors import DatabaseUnavailable, RebuildRefused
from eventkit.projection.define import Projection
from eventkit.projection.rebuild.from_store import StoreFeeder
from eventkit.projection.rebuild.from_transport import TransportFeeder, listening
from eventkit.projection.rebuild.memory import shares
from eventkit.projection.rebuild.shadow import ShadowBuild
from eventkit.projection.rebuild.swap import Swap, SwapBlocked, SwapFailing, Swapped, prefers_merge
from eventkit.projection.rebuild.worker_job import Job, open_feeder
from eventkit.projection.rebuild.worker_pool import feed_in_processes
from eventkit.storage.db import connect, database_errors
from eventkit.storage.events import StreamLog, StreamPart, find_unknown_types, refuse_unknown_types
from eventkit.storage.outbox import Horizon, read_horizon
from eventkit.storage.projections import index_shadow, is_unlogged
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

LITTLE = 1_000  # events that may be left for the swap
FEW = 20_000  # events that are not worth a process
_TELL = 1.0  # seconds between what `eventkit projection status` sees
_FAILURES = 3  # swaps that fail at events, though feeding has applied or parked all there were
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts to swap, the last for all further ones


class RebuildPlan(msgspec.Struct, frozen=True):
    """What an operator says about a rebuild."""

    workers: int = 1
    resume: bool = False
    merge: bool = False
    accept_parked: bool = False
    accept_lost: bool = False  # events that the live read model has and the store has lost are left out
    from_transport: bool = False
    topics: tuple[str, ...] = ()  # to read from the transport, where they are not those of the projection
    store_url: str | None = None  # where the event store is not in the read models' database
    memory: int | None = None  # bytes that all processes may take together; 250 MB where nobody says


class RebuildProgress(msgspec.Struct):
    """How far a rebuild is; `total` grows with what is appended."""

    stage: str
    done: int = 0  # events
    total: int = 0


class RebuildOutcome(msgspec.Struct, frozen=True):
    """What a rebuild did."""

    projection: str
    version: int
    generation: int
    events: int
    seconds: float
    events_per_second: float  # from the beginning to the end, the swap included
    caught_up: int  # events applied under the swap's lock
    merged: int | None  # rows written; None where the tables were swapped by name
    parked: int  # streams


class RebuildRun:
    """One rebuild of one projection, by settings."""

    def __init__(
        self,
        projection: Projection,
        settings: Settings,
        plan: RebuildPlan,
        *,
        stop: Stop | None = None,
        report: Callable[[RebuildProgress], None] = lambda _: None,
    ) -> None:
        """Connect to nothing yet; `report` is called at every step, by one thread at a time."""
        self._projection = projection
        self._settings = settings
        self._plan = plan
        self._stop = stop or Stop()
        self._report = report
        self._progress = RebuildProgress("begin")
        self._telling = threading.Lock()
        self._told = 0.0
        self._save: Callable[[int, int], None] = lambda _done, _total: None
        self._workers, self._share = shares(plan.memory, workers=plan.workers)
        if self._workers < plan.workers:
            logger.info(
                "the rebuild of %s has %d of %d workers: more do not fit into its memory (--memory)",
                projection.name,
                self._workers,
                plan.workers,
            )

    def run(self) -> RebuildOutcome:
        """Rebuild; RebuildRefused where it cannot be done: then the live read model is as it was."""
        started = time.monotonic()
        with ExitStack() as stack, database_errors():
            site = ShadowBuild(stack.enter_context(self._connect("rebuild")), self._projection, self._settings.schema)
            store = stack.enter_context(self._connect("rebuild store", self._store_url))
            job = self._begin(site, store)
            # crash point: begun, nothing fed -> row and shadow stay, for the next rebuild to take away or to go on
            horizon = read_horizon(store, f'"{self._settings.schema}"')
            feeder = stack.enter_context(self._open(job))
            self._feed(job, feeder)
            self._enter("index")
            index_shadow(site.connection, job.rebuild.shadow, job.tables)
            from_store = not self._plan.from_transport
            position = horizon.position if from_store and self._is_through(store, horizon) else 0
            self._enter("catch up")
            feeder.work(self._count, until=LITTLE)
            # crash point: fed, not swapped -> the live read model is served on
            swapped = self._swap(site, feeder, job, position, stack)
            # crash point: swapped, not cleaned -> what belongs to no generation is taken away by the next rebuild
            parked = site.clean(job.rebuild.generation)
        return self._outcome(job, swapped, parked, time.monotonic() - started)

    def _begin(self, site: ShadowBuild, store: psycopg.Connection[Any]) -> Job:
        streams = StreamLog(store, self._settings.schema, categories=self._projection.categories)
        total = 0 if self._plan.from_transport else streams.total()
        refuse_unknown_types(
            store, self._settings.schema, self._projection.catalog, categories=self._projection.categories
        )
        begun = site.begin(total=total, resume=self._plan.resume)
        self._progress.total = total
        self._save = partial(site.tell, begun.rebuild.generation)
        return Job(
            self._projection.path,
            self._projection.name,
            self._settings.require_database(),
            self._store_url,
            self._settings.schema,
            begun.rebuild,
            begun.tables,
            begun.search_path,
            share=self._share,
            master_keys=self._settings.master_keys.text if self._settings.master_keys else None,
        )

    @contextmanager
    def _open(self, job: Job) -> Iterator[StoreFeeder | TransportFeeder]:
        with open_feeder(self._projection, job, self._stop) as feeder:
            if not self._plan.from_transport:
                yield feeder
                return
            with listening(feeder, job, self._settings, self._plan.topics, stop=self._stop) as listener:
                self._progress.total = listener.behind()
                yield listener

    def _feed(self, job: Job, feeder: StoreFeeder | TransportFeeder) -> None:
        """Feed what is there, in processes where there is much."""
        self._enter("feed")
        workers = self._workers
        if workers > 1 and job.rebuild.total > FEW and not self._plan.from_transport:
            parts = [msgspec.structs.replace(job, part=StreamPart(number, workers)) for number in range(workers)]
            feed_in_processes(parts, self._count, self._stop)
        feeder.work(self._count, until=LITTLE)
        self._go_on()
        if unknown := self._projection.handlers.unknown:  # in a transport's messages, where the store has none
            raise RebuildRefused(
                f"{find_unknown_types(self._projection.catalog.name, unknown)}; the live read model stays"
            )

    def _is_through(self, store: psycopg.Connection[Any], horizon: Horizon) -> bool:
        """Whether all that could own a position below the horizon has ended: what it wrote is read from here on."""
        now = read_horizon(store, f'"{self._settings.schema}"')
        return now.server == horizon.server and not now.holders & horizon.holders

    def _swap(
        self, site: ShadowBuild, feeder: StoreFeeder | TransportFeeder, job: Job, position: int, stack: ExitStack
    ) -> Swapped:  # fmt: skip
        self._enter("swap")
        swap = self._prepared(site, feeder, job)
        failures = 0
        for attempt in count(1):
            until = LITTLE
            try:
                return swap.run(position)
            except SwapBlocked as held:
                logger.warning("the swap of %s waits, attempt %d: %s", job.name, attempt, held)
                if isinstance(held, SwapFailing):
                    failures, until = failures + 1, 0
                if failures == _FAILURES:
                    raise RebuildRefused(_fails(job.name, held)) from held
            except DatabaseUnavailable as error:  # the server ends a session that stops in the middle of a swap
                logger.warning("the swap of %s is tried again, attempt %d: %s", job.name, attempt, error)
                feeder = stack.enter_context(self._open(job))
                swap = self._prepared(site, feeder, job)
                if swap.has_happened():
                    return Swapped(job.rebuild.generation, 0, None)
            self._stop.wait(_PAUSES[min(attempt, len(_PAUSES)) - 1])
            feeder.work(self._count, until=until)
            self._go_on()
        raise AssertionError

    def _prepared(self, site: ShadowBuild, feeder: StoreFeeder | TransportFeeder, job: Job) -> Swap:
        swap = Swap(feeder.building, feeder.parts, job.tables, schema=self._settings.schema)
        swap.most = self._share.events
        swap.accept_parked = self._plan.accept_parked
        if self._plan.accept_lost and isinstance(feeder, StoreFeeder):
            swap.versions = feeder.log.versions
        swap.merge = self._plan.merge or prefers_merge(site.connection, job.tables, job.name)
        swap.merge = swap.merge or is_unlogged(site.connection, job.rebuild.shadow)
        return swap

    def _outcome(self, job: Job, swapped: Swapped, parked: int, seconds: float) -> RebuildOutcome:
        events = self._progress.done + swapped.caught_up
        rebuild = job.rebuild
        return RebuildOutcome(
            projection=job.name,
            version=rebuild.declared_version,
            generation=rebuild.generation,
            events=events,
            seconds=round(seconds, 3),
            events_per_second=round(events / seconds, 1),
            caught_up=swapped.caught_up,
            merged=swapped.merged,
            parked=parked,
        )

    def _enter(self, stage: str) -> None:
        self._go_on()
        self._progress.stage = stage
        self._report(self._progress)

    def _count(self, events: int) -> None:
        with self._telling:
            self._progress.done += events
            self._progress.total = max(self._progress.total, self._progress.done)
            now = time.monotonic()
            if now - self._told > _TELL:
                self._told = now
                self._save(self._progress.done, self._progress.total)
            self._report(self._progress)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise RebuildRefused(
                f"the rebuild of {self._projection.name!r} was ended before its swap, the live read model is as it "
                "was: `--resume` goes on with it, if the code stays the same"
            )

    @property
    def _store_url(self) -> str:
        return self._plan.store_url or self._settings.require_database()

    def _connect(self, name: str, url: str | None = None) -> psycopg.Connection[Any]:
        return connect(
            url or self._settings.require_database(),
            name=f"{name} {self._projection.name}",
            schema=self._settings.schema,
            autocommit=True,
            options={"TimeZone": "UTC"},
        )


def _fails(name: str, held: SwapBlocked) -> str:
    return (
        f"the swap of {name!r} fails at events that came last, again and again: {held}; the live read model is as it "
        "was: mend the handlers or the constraint, and go on with `--resume`"
    )
