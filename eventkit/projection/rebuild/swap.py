"""The swap: one transaction in which a rebuild's generation becomes the live one, with no gap and no repeat.

Under the projection's lock no process applies to the live generation, so its checkpoints do not change before the
commit. Every stream that is behind in the shadow is applied to its end; then names (or rows) and the generation change
together. The swap waits for each lock a second at most, because readers of the read model wait behind it. After that it
rolls back, logs the sessions that hold the lock, and the caller tries again.

The tables are locked last. From then on, the server ends this session if it is idle for a second: so a reader waits for
two seconds at most, even if this process hangs.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg.errors import DependentObjectsStillExist, LockNotAvailable, QueryCanceled

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import waiting
from eventkit.projection.batch import Run, spans
from eventkit.projection.counters import Counters
from eventkit.projection.failure import ErrorClass, classify_error, database_error, describe, translated
from eventkit.projection.rebuild.from_store import chunks
from eventkit.projection.rebuild.memory import EVENTS
from eventkit.projection.rebuild.shadow_applier import ShadowApplier
from eventkit.storage.db import lock_holders
from eventkit.storage.dead_letters import DeadLetters
from eventkit.storage.events import Missing
from eventkit.storage.projections import (
    Live,
    LiveTable,
    StreamLag,
    definition,
    drop_shadow,
    hand_over,
    keep_malformed,
    lock_tables,
    merge_rows,
    needs_itself,
    parked_by,
    swap_names,
)

logger = logging.getLogger("eventkit.projection")

Read = Callable[[list[Missing]], Iterable[list[Run]]]
Versions = Callable[[Sequence[str]], Mapping[str, int]]
Lagging = tuple[str, int, int, bool]  # stream, applied version, target version, whether it is parked

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
    most: int = EVENTS  # events that are read at once
    versions: Versions | None = None  # of the store, to leave out events that it has lost


class Swapped(msgspec.Struct, frozen=True):
    """The result of a swap."""

    caught_up: int  # events applied under the lock
    merged: int | None  # rows; None if the tables were swapped by name


class SwapBlocked(Exception):  # not an EventkitError: the rebuild tries again
    """The swap was rolled back for a temporary reason, as a lock that was not released in time."""


class SwapFailing(SwapBlocked):
    """The swap was rolled back because an event failed: the next feed finds and parks it."""


class Swap:
    """Swaps one rebuild in."""

    def __init__(
        self, applier: ShadowApplier, read: Read, tables: Sequence[LiveTable], options: SwapOptions, *, schema: str
    ) -> None:
        """Swap on the connection of `applier`; `read` reads the events that it lacks, `tables` are the live ones."""
        self._applier = applier
        self._read = read
        self._tables = tables
        self._schema = schema
        self._options = options
        self._merge = options.merge
        self._exchanging = False  # whether all events are applied and the tables or rows change

    def run(self, position: int) -> Swapped:
        """Swap, and save `position` as the place from which a projector may read on in the store.

        Raise SwapBlocked if a lock was not released in time or an event failed, RebuildRefused if no retry can succeed.
        """
        self._exchanging = False
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
                self._merge = True
                raise SwapBlocked(f"{cause.diag.message_detail}: the rows will be merged") from error
            if isinstance(cause, QueryCanceled) and not self._merge:  # a foreign key on many rows, for instance
                self._merge = True
                raise SwapBlocked("readers would wait for more than a second: the rows will be merged") from error
            is_row_error = cause is not None and (cause.sqlstate or "").startswith(_ROW_ERRORS)
            if self._exchanging and cause is not None and is_row_error:
                raise RebuildRefused(self._lasting(cause)) from error
            if is_row_error or classify_error(error) is ErrorClass.EVENT:
                raise SwapFailing(describe(error)) from error
            if classify_error(error) in (ErrorClass.CONTENTION, ErrorClass.AWAY):
                raise SwapBlocked(describe(error)) from error
            raise translated(error) from error

    def has_happened(self) -> bool:
        """Return whether the rebuild's generation is live: for a swap whose commit was not confirmed."""
        applier = self._applier
        with applier.workspace.transaction() as connection:
            live = applier.projections.fence(connection, applier.projection.name)
        return live is not None and live.generation == applier.rebuild.generation

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
        """Apply the events that the live generation has and the shadow lacks; both are locked."""
        applier = self._applier
        new = applier.rebuild.live()
        lagging = applier.checkpoints.lagging(connection, new.generation, live.generation)
        done = Counters()
        lagging = self._without_lost([row for row in lagging if applier.projection.reads(row[0])])
        behind = chunks((StreamLag(*row[:3], parked=False) for row in lagging if not row[3]), most=self._options.most)
        for runs in (part for chunk in behind for part in self._read(chunk)):
            advanced = applier.checkpoints.advance(connection, new.generation, spans(runs))
            if len(advanced) < len(runs):
                raise RebuildRefused(f"the rebuild of {applier.projection.name!r} is written by another process")
            applier.fold([arrival for run in runs for arrival in run.arrivals], done)
        self._keep_behind(connection, [StreamLag(*row) for row in lagging if row[3]])
        return done.applied

    def _without_lost(self, lagging: list[Lagging]) -> list[Lagging]:
        """Leave out events that the live read model has and the store has lost, in a restore or a failover."""
        if self._options.versions is None or not lagging:
            return lagging
        known = self._options.versions([row[0] for row in lagging])
        return [
            (stream, applied, min(version, known.get(stream, 0)), parked)
            for stream, applied, version, parked in lagging
        ]

    def _keep_behind(self, connection: psycopg.Connection[Any], parked: Sequence[StreamLag]) -> None:
        """Keep later events of streams that are parked here: the live generation has applied them, none comes again."""
        if not parked:
            return
        letters = DeadLetters(self._schema)
        by = parked_by(self._applier.projection.name, self._applier.rebuild.generation)
        kept = letters.reach(connection, by, [item.stream for item in parked])
        lacking = (item._replace(applied=max(item.applied, kept.get(item.stream, 0)), parked=False) for item in parked)
        for part in (part for chunk in chunks(lacking, most=self._options.most) for part in self._read(chunk)):
            for run in part:
                letters.keep(connection, by, run.stream, [waiting(arrival) for arrival in run.arrivals])

    def _refuse_parked(self, connection: psycopg.Connection[Any], live: Live) -> None:
        applier = self._applier
        parked = applier.checkpoints.newly_parked(connection, applier.rebuild.generation, live.generation)
        if parked and not self._options.accept_parked:
            raise RebuildRefused(
                f"{len(parked)} streams are parked in the rebuilt read model and not in the live one, as {parked[0]}: "
                "mend the handlers and rebuild, or swap it in as it is with `--resume --accept-parked`"
            )

    def _exchange(self, connection: psycopg.Connection[Any]) -> int | None:
        """Replace the live rows with the shadow's; return how many were merged, or None."""
        rebuild = self._applier.rebuild
        if not self._merge:
            lock_timeout = f"{1_000 // max(1, len(self._tables))}ms"  # one reader may wait for all tables
            connection.execute(_SHORT_TIMEOUTS, (lock_timeout,))
            lock_tables(connection, self._tables)
            connection.execute(_STATEMENT_TIMEOUT)
        if definition(connection, self._tables) != rebuild.definition:
            raise RebuildRefused(
                f"a table of {self._applier.projection.name!r} was altered while it was rebuilt: rebuild it again"
            )
        if self._merge:
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
        applier.projections.replace(connection, name, new, tables=tables, categories=categories)
        applier.rebuilds.end(connection, name)
        both = {"old": live.generation, "new": new.generation}
        hand_over(connection, self._schema, name=name, **both, categories=categories)
        old_by, new_by = parked_by(name, live.generation), parked_by(name, new.generation)
        keep_malformed(connection, self._schema, old=old_by, new=new_by)

    def _lasting(self, cause: psycopg.Error) -> str:
        """Return the message of an error that no retry resolves."""
        how = "merged into the live ones" if self._merge else "put in their place"
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


def prefers_merge(connection: psycopg.Connection[Any], tables: Sequence[LiveTable], name: str) -> bool:
    """Return whether other objects depend on the tables themselves, and log them."""
    if needing := needs_itself(connection, tables):
        logger.info("%s: the rows will be merged into the live tables, for %s", name, ", ".join(needing))
    return bool(needing)
