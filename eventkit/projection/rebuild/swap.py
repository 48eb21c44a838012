"""The swap: one transaction in which a rebuild's generation becomes the live one, with no gap and no repeat.

    lock        the projection's row and the rebuild's          no process applies, checkpoints stay as they are
    catch up    every stream that is behind in the shadow       `swap_catch_up`
    hand over   the row, the dead letters                       `eventkit.storage.projections.swap_generations`
    exchange    the tables by name, or their rows               `eventkit.storage.projections.swap_tables`

The swap waits for each lock a second at most, because readers of the read model wait behind it. After that it rolls
back, logs the sessions that hold the lock, and is tried again after the latest events are fed (`SwapAttempts`).

The tables are locked last. From then on, the server ends this session if it is idle for a second: so a reader waits for
two seconds at most, even if this process hangs.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec
import psycopg
from psycopg.errors import DependentObjectsStillExist, LockNotAvailable, QueryCanceled

from eventkit.errors import DatabaseUnavailable, RebuildRefused
from eventkit.projection.failure import ErrorClass, classify_error, database_error, describe, translated
from eventkit.projection.rebuild.from_store import Feeder
from eventkit.projection.rebuild.swap_catch_up import SwapCatchUp
from eventkit.projection.rebuild.worker_job import Job
from eventkit.storage.db import lock_holders
from eventkit.storage.projections import (
    Live,
    LiveTable,
    definition,
    drop_shadow,
    hand_over_letters,
    lock_tables,
    merge_rows,
    needs_itself,
    newly_parked,
    replace_generation,
    swap_names,
)
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

_MAX_FAILED_SWAPS = 3  # swaps that fail at an event, each after a feed that has applied or parked all events
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts to swap, the last for all further ones
_ROW_ERRORS = ("22", "23")  # classes of SQLSTATE: a row violates a type or a constraint; a retry fails again
LOCK_TIMEOUT = "1s"  # readers of the read model wait as long
# With the tables locked, no user's code runs; a swap that takes longer is done by merging rows.
_SHORT_TIMEOUTS = (
    "select set_config('idle_in_transaction_session_timeout', '1s', true), set_config('lock_timeout', %s, true)"
)
_STATEMENT_TIMEOUT = "set local statement_timeout = '1s'"


class SwapOptions(msgspec.Struct, frozen=True):
    """How a rebuild is swapped in."""

    merge: bool = False  # the rows into the live tables, instead of the tables by name
    accept_parked: bool = False
    accept_lost: bool = False  # leave out events that the live read model has and the store has lost


class Swapped(msgspec.Struct, frozen=True):
    """The result of a swap."""

    caught_up: int  # events applied under the lock
    merged: int | None  # rows; None if the tables were swapped by name


class SwapBlocked(Exception):  # not an EventkitError: the rebuild tries again
    """The swap was rolled back for a temporary reason, as a lock that was not released in time."""

    def __init__(self, reason: str, *, merge: bool = False) -> None:
        """`merge`: only a merge of the rows can succeed."""
        super().__init__(reason)
        self.merge = merge


class SwapFailing(SwapBlocked):
    """The swap was rolled back because an event failed: the next feed finds and parks it."""


class SwapAttempts:
    """Tries the swap of one rebuild until it succeeds, and has the latest events fed between two attempts."""

    def __init__(
        self,
        job: Job,
        options: SwapOptions,
        *,
        reopen: Callable[[], Feeder],
        feed: Callable[[Feeder, bool], None],
        stop: Stop,
    ) -> None:
        """`reopen` connects a new feeder; `feed` feeds the events of the meantime, whether all of them or most."""
        self._job = job
        self._options = options
        self._reopen = reopen
        self._feed = feed
        self._stop = stop

    def run(self, feeder: Feeder, position: int) -> Swapped:
        """Swap; raise RebuildRefused if no further attempt can succeed."""
        failures, options = 0, self._options
        for attempt in count(1):
            every_event = False
            try:
                return Swap(feeder, self._job, options).run(position)
            except SwapBlocked as blocked:
                logger.warning("the swap of %s waits, attempt %d: %s", self._job.name, attempt, blocked)
                every_event = isinstance(blocked, SwapFailing)
                failures += every_event
                if failures == _MAX_FAILED_SWAPS:
                    raise RebuildRefused(_failed_message(self._job.name, blocked)) from blocked
                options = msgspec.structs.replace(options, merge=options.merge or blocked.merge)
            except DatabaseUnavailable as error:  # the server ends an idle session in the middle of a swap
                logger.warning("the swap of %s is tried again, attempt %d: %s", self._job.name, attempt, error)
                feeder = self._reopen()
                if has_happened(feeder):
                    return Swapped(0, None)
            self._stop.wait(_PAUSES[min(attempt, len(_PAUSES)) - 1])
            self._feed(feeder, every_event)
        raise AssertionError


class Swap:
    """One attempt to swap a rebuild in."""

    def __init__(self, feeder: Feeder, job: Job, options: SwapOptions) -> None:
        """Swap on the connection of the feeder's applier."""
        self._applier = feeder.applier
        self._tables = job.tables
        self._options = options
        self._lacking = SwapCatchUp(feeder, most=job.share.events, accept_lost=options.accept_lost)
        self._exchanging = False  # whether all events are applied and the tables or rows change

    def run(self, position: int) -> Swapped:
        """Swap, and save `position` as the place from which a projector may read on in the store.

        Raise SwapBlocked if a lock was not released in time or an event failed, RebuildRefused if no retry can succeed.
        """
        try:
            with self._applier.workspace.transaction() as connection:
                self._limit_waits(connection)
                return self._swap(connection, position)
        except SwapBlocked:
            raise
        except Exception as error:
            cause = database_error(error)
            if isinstance(cause, LockNotAvailable):
                raise SwapBlocked(self._blockers()) from error
            if isinstance(cause, DependentObjectsStillExist):  # a view created during the rebuild
                detail = cause.diag.message_detail
                raise SwapBlocked(f"{detail}: the rows will be merged", merge=True) from error
            if isinstance(cause, QueryCanceled) and not self._options.merge:  # a foreign key on many rows, for instance
                slow = "readers would wait for more than a second: the rows will be merged"
                raise SwapBlocked(slow, merge=True) from error
            is_row_error = cause is not None and (cause.sqlstate or "").startswith(_ROW_ERRORS)
            if self._exchanging and cause is not None and is_row_error:
                raise RebuildRefused(self._lasting(cause)) from error
            if is_row_error or classify_error(error) is ErrorClass.EVENT:
                raise SwapFailing(describe(error)) from error
            if classify_error(error) in (ErrorClass.CONTENTION, ErrorClass.AWAY):
                raise SwapBlocked(describe(error)) from error
            raise translated(error) from error

    def _limit_waits(self, connection: psycopg.Connection[Any]) -> None:
        timeout = round(self._applier.projection.timeout * 1000)
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
        connection.execute(f"set local idle_in_transaction_session_timeout = '{timeout}ms'".encode())

    def _swap(self, connection: psycopg.Connection[Any], position: int) -> Swapped:
        applier, name = self._applier, self._applier.projection.name
        live = applier.projections.take(connection, name)
        applier.rebuilds.take(connection, name, applier.rebuild)
        if live is None:
            raise RebuildRefused(f"projection {name!r} was deleted while it was rebuilt")
        # crash point: locked, not compared -> the session ends, its locks are released, nothing has changed
        caught_up = self._catch_up(connection, live)
        self._refuse_parked(connection, live)
        # crash point: caught up, not renamed -> rolled back: live and shadow are as they were
        new = applier.rebuild.live()
        self._hand_over(connection, live, msgspec.structs.replace(new, position=position))
        self._exchanging = True
        merged = self._exchange(connection)
        # crash point: renamed, not committed -> rolled back: live and shadow are as they were
        return Swapped(caught_up, merged)

    def _catch_up(self, connection: psycopg.Connection[Any], live: Live) -> int:
        return self._lacking.run(connection, live)

    def _refuse_parked(self, connection: psycopg.Connection[Any], live: Live) -> None:
        new = self._applier.rebuild.generation
        parked = newly_parked(connection, self._applier.schema, new=new, live=live.generation)
        if parked and not self._options.accept_parked:
            raise RebuildRefused(
                f"{len(parked)} streams are parked in the rebuilt read model and not in the live one, as {parked[0]}: "
                "mend the handlers and rebuild, or swap it in as it is with `--resume --accept-parked`"
            )

    def _exchange(self, connection: psycopg.Connection[Any]) -> int | None:
        """Replace the live rows with the shadow's; return how many were merged, or None."""
        rebuild = self._applier.rebuild
        if not self._options.merge:
            lock_timeout = f"{1_000 // max(1, len(self._tables))}ms"  # one reader may wait for all tables
            connection.execute(_SHORT_TIMEOUTS, (lock_timeout,))
            lock_tables(connection, self._tables)
            connection.execute(_STATEMENT_TIMEOUT)
        if definition(connection, self._tables) != rebuild.definition:
            raise RebuildRefused(
                f"a table of {self._applier.projection.name!r} was altered while it was rebuilt: rebuild it again"
            )
        if self._options.merge:
            merged = merge_rows(connection, rebuild.shadow, self._tables)
            # crash point: merged, not committed -> rolled back, row by row: live and shadow are as they were
            drop_shadow(connection, rebuild.shadow)
            return merged
        swap_names(connection, rebuild.shadow, self._tables)
        drop_shadow(connection, rebuild.shadow)
        return None

    def _hand_over(self, connection: psycopg.Connection[Any], live: Live, new: Live) -> None:
        applier, name = self._applier, self._applier.projection.name
        tables, categories = [table.place for table in self._tables], applier.projection.categories
        replace_generation(connection, applier.schema, name, new, tables=tables, categories=categories)
        applier.rebuilds.end(connection, name)
        both = {"old": live.generation, "new": new.generation}
        hand_over_letters(connection, applier.schema, name, **both, categories=categories)

    def _lasting(self, cause: psycopg.Error) -> str:
        """Return the message of an error that no retry resolves."""
        how = "merged into the live ones" if self._options.merge else "put in their place"
        return (
            f"the rows that were rebuilt for {self._applier.projection.name!r} cannot be {how}: "
            f"{cause.diag.message_primary}; change the constraint, or the rows that violate it, then continue with "
            "`--resume`; the live read model is as it was"
        )

    def _blockers(self) -> str:
        applier = self._applier
        with applier.workspace.transaction() as connection:
            gate = applier.projections.gate(applier.projection.name)
            return lock_holders(connection, gate=gate, oids=[table.oid for table in self._tables])


def has_happened(feeder: Feeder) -> bool:
    """Return whether the rebuild's generation is live: for a swap whose commit was not confirmed."""
    applier = feeder.applier
    with applier.workspace.transaction() as connection:
        live = applier.projections.fence(connection, applier.projection.name)
    return live is not None and live.generation == applier.rebuild.generation


def prefers_merge(connection: psycopg.Connection[Any], tables: Sequence[LiveTable], name: str) -> bool:
    """Return whether other objects depend on the tables themselves, and log them."""
    if needing := needs_itself(connection, tables):
        logger.info("%s: the rows will be merged into the live tables, for %s", name, ", ".join(needing))
    return bool(needing)


def _failed_message(name: str, blocked: SwapBlocked) -> str:
    return (
        f"the swap of {name!r} fails at the latest events, again and again: {blocked}; the live read model is as it "
        "was: correct the handlers or the constraint, and continue with `--resume`"
    )
