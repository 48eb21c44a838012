"""Rebuild a projection beside the live one, and swap it in while events keep coming.

    begin        a generation, its row, and its shadow tables           one transaction
    feed         stream by stream from the store, in parts, in passes   a transaction a chunk
                 or in batches from the transport                       a transaction a batch
    index        the indexes that filling did not need
    catch up     the events of the meantime, until few are left
    swap         under the projection's lock: the rest, then the names  one transaction
    clean        the old generation's checkpoints and letters

The live read model stays in use and up to date until the swap; a rebuild that dies before does not change it. The next
rebuild removes the dead one and starts again. With `resume` it continues at the dead one's checkpoints, which is right
only with the same code. Called by `eventkit projection rebuild`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import msgspec
import psycopg

from eventkit.config import Settings
from eventkit.errors import RebuildRefused
from eventkit.observability.tracing import REBUILD, span
from eventkit.projection.define import Projection
from eventkit.projection.rebuild.from_store import Feeder
from eventkit.projection.rebuild.from_transport import open_transport_feeder
from eventkit.projection.rebuild.memory import shares
from eventkit.projection.rebuild.progress import ProgressReporter, RebuildProgress
from eventkit.projection.rebuild.shadow import ShadowBuild
from eventkit.projection.rebuild.swap import SwapAttempts, SwapOptions, Swapped, prefers_merge
from eventkit.projection.rebuild.worker_job import Job, open_feeder
from eventkit.projection.rebuild.worker_pool import feed_in_processes
from eventkit.storage.db import connect, database_errors
from eventkit.storage.events import StreamLog, StreamPart, find_unknown_types, refuse_unknown_types
from eventkit.storage.outbox import Horizon, read_horizon
from eventkit.storage.projections import index_shadow, is_unlogged
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

SWAP_BACKLOG = 1_000  # events that may be left for the swap
MIN_EVENTS_FOR_WORKERS = 20_000  # fewer are fed by this process alone


class RebuildPlan(msgspec.Struct, frozen=True):
    """The operator's options for a rebuild."""

    workers: int = 1
    resume: bool = False
    merge: bool = False
    accept_parked: bool = False
    accept_lost: bool = False  # leave out events that the live read model has and the store has lost
    from_transport: bool = False
    topics: tuple[str, ...] = ()  # to read from the transport; the projection's unless given
    store_url: str | None = None  # if the event store is not in the read models' database
    memory: int | None = None  # bytes of all processes together; 250 MB unless given


class RebuildOutcome(msgspec.Struct, frozen=True):
    """The result of a rebuild."""

    projection: str
    version: int
    generation: int
    events: int
    seconds: float
    events_per_second: float  # of the whole rebuild, with the swap
    caught_up: int  # events that were applied under the swap's lock
    merged: int | None  # rows; None if the tables were swapped by name
    parked: int  # streams


class RebuildRun:
    """One rebuild of one projection, with some settings."""

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
        self._workers, self._share = shares(plan.memory, workers=plan.workers)
        if self._workers < plan.workers:
            logger.info(
                "the rebuild of %s has %d of %d workers: more do not fit into its memory (--memory)",
                projection.name,
                self._workers,
                plan.workers,
            )

    def run(self) -> RebuildOutcome:
        """Rebuild, and swap in; raise RebuildRefused if that is impossible: the live read model is unchanged."""
        named = {"eventkit.projection": self._projection.name}
        with span(REBUILD, [self._projection.name], attributes=named) as opened:
            outcome = self._run()
            if opened is not None:
                opened.set_attribute("eventkit.events", outcome.events)
            return outcome

    def _run(self) -> RebuildOutcome:
        started = time.monotonic()
        with ExitStack() as stack, database_errors():
            build = ShadowBuild(stack.enter_context(self._connect("rebuild")), self._projection, self._settings.schema)
            store = stack.enter_context(self._connect("rebuild store", self._store_url))
            total = self._total(store)
            job = self._begin(build, store, total)
            progress = ProgressReporter(self._report, partial(build.save_progress, job.rebuild.generation), total=total)
            # crash point: begun, nothing fed -> row and shadow stay; the next rebuild removes or resumes them
            horizon = read_horizon(store, self._settings.schema)
            feeder = stack.enter_context(self._open(job, progress))
            self._feed(job, feeder, progress)
            self._refuse_stop()
            progress.enter("index")
            index_shadow(build.connection, job.rebuild.shadow, job.tables)
            from_store = not self._plan.from_transport
            position = horizon.position if from_store and self._is_settled(store, horizon) else 0
            self._refuse_stop()
            progress.enter("catch up")
            feeder.work(progress.count, until=SWAP_BACKLOG)
            # crash point: fed, not swapped -> the live read model stays in use
            swapped = self._swap(build, feeder, job, position, stack, progress)
            # crash point: swapped, not cleaned -> the next rebuild deletes the rows of dead generations
            parked = build.clean(job.rebuild.generation)
        return self._outcome(job, swapped, progress.done + swapped.caught_up, parked, time.monotonic() - started)

    def _total(self, store: psycopg.Connection[Any]) -> int:
        """Return how many events the store has for the projection; 0 if it is not the source."""
        streams = StreamLog(store, self._settings.schema, categories=self._projection.categories)
        return 0 if self._plan.from_transport else streams.total()

    def _begin(self, build: ShadowBuild, store: psycopg.Connection[Any], total: int) -> Job:
        refuse_unknown_types(
            store, self._settings.schema, self._projection.catalog, categories=self._projection.categories
        )
        begun = build.begin(total=total, resume=self._plan.resume)
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
    def _open(self, job: Job, progress: ProgressReporter) -> Iterator[Feeder]:
        with open_feeder(self._projection, job, self._stop) as feeder:
            if not self._plan.from_transport:
                yield feeder
                return
            with open_transport_feeder(feeder, job, self._settings, self._plan.topics, stop=self._stop) as reader:
                progress.expect(reader.behind())
                yield reader

    def _feed(self, job: Job, feeder: Feeder, progress: ProgressReporter) -> None:
        """Feed all events that exist, in worker processes if they are many."""
        self._refuse_stop()
        progress.enter("feed")
        workers = self._workers
        if workers > 1 and job.rebuild.total > MIN_EVENTS_FOR_WORKERS and not self._plan.from_transport:
            parts = [msgspec.structs.replace(job, part=StreamPart(number, workers)) for number in range(workers)]
            feed_in_processes(parts, progress.count, self._stop)
        feeder.work(progress.count, until=SWAP_BACKLOG)
        self._refuse_stop()
        if unknown := self._projection.handlers.unknown:  # in messages of other services
            raise RebuildRefused(
                f"{find_unknown_types(self._projection.catalog.name, unknown)}; the live read model stays"
            )

    def _is_settled(self, store: psycopg.Connection[Any], horizon: Horizon) -> bool:
        """Return whether every transaction that may own a position below the horizon has ended."""
        now = read_horizon(store, self._settings.schema)
        return now.server == horizon.server and not now.holders & horizon.holders

    def _swap(
        self,
        build: ShadowBuild,
        feeder: Feeder,
        job: Job,
        position: int,
        stack: ExitStack,
        progress: ProgressReporter,
    ) -> Swapped:
        self._refuse_stop()
        progress.enter("swap")
        merge = self._plan.merge or prefers_merge(build.connection, job.tables, job.name)
        options = SwapOptions(
            merge=merge or is_unlogged(build.connection, job.rebuild.shadow),
            accept_parked=self._plan.accept_parked,
            accept_lost=self._plan.accept_lost,
        )

        def reopen() -> Feeder:
            return stack.enter_context(self._open(job, progress))

        def feed(feeder: Feeder, every_event: bool) -> None:  # noqa: FBT001 a callback
            feeder.work(progress.count, until=0 if every_event else SWAP_BACKLOG)
            self._refuse_stop()

        return SwapAttempts(job, options, reopen=reopen, feed=feed, stop=self._stop).run(feeder, position)

    @staticmethod
    def _outcome(job: Job, swapped: Swapped, events: int, parked: int, seconds: float) -> RebuildOutcome:
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

    def _refuse_stop(self) -> None:
        if self._stop.is_set():
            raise RebuildRefused(
                f"the rebuild of {self._projection.name!r} was ended before its swap, the live read model is as it "
                "was: `--resume` continues it, if the code stays the same"
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
