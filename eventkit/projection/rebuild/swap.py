"""The swap: one transaction in which a rebuild's generation becomes the live one, with no gap and no repeat.

Under the projection's lock nobody applies to the live generation, so only now its checkpoints are what they will be
at the commit: every stream whose shadow is below is applied to its end, then names (or rows) and generation change
together. It waits for each lock a second at most, for readers of the read model wait behind it; then it lets go, names
who was in the way, and tries again.

The tables are locked last, and the server ends this session if it stops for a second from then on: a reader waits for
two seconds at most, whatever becomes of this process.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg.errors import DependentObjectsStillExist, LockNotAvailable, QueryCanceled

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import waiting
from eventkit.projection.batch import Run
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
Lagging = tuple[str, int, int, bool]  # stream, version that is applied, version to come to, whether it is parked

_LASTING = ("22", "23")  # classes of SQLSTATE: rows against constraints and types
LOCK_TIMEOUT = "1s"  # readers of the read model wait as long
# From the lock on the tables on: no user's code runs any more, and what takes longer is done in another way.
_IN_HASTE = "select set_config('idle_in_transaction_session_timeout', '1s', true), set_config('lock_timeout', %s, true)"
_AT_ONCE = "set local statement_timeout = '1s'"


class Swapped(msgspec.Struct, frozen=True):
    """What a swap did: how many events it applied under the lock, and how many rows it merged (None: by name)."""

    replaced: int  # the generation
    caught_up: int
    merged: int | None


class SwapBlocked(Exception):  # not an error of ours: whoever swaps tries again
    """The swap was rolled back for something that passes: a lock that was held for longer than it waits."""


class SwapFailing(SwapBlocked):
    """The swap was rolled back for what an event does: feeding finds out which one, and parks it."""


class Swap:
    """Swaps one rebuild in."""

    def __init__(self, building: ShadowApplier, read: Read, tables: Sequence[LiveTable], *, schema: str) -> None:
        """Work on the connection that `building` works on; `read` reads what it lacks, `tables` are the live ones."""
        self._building = building
        self._read = read
        self._tables = tables
        self._schema = schema
        self._exchanging = False  # the tables, or their rows: no event is folded any more
        self.most = EVENTS  # that are read at once
        self.merge = False
        self.accept_parked = False
        self.versions: Versions | None = None  # of the store, where what it has lost is to be left out

    def run(self, position: int) -> Swapped:
        """Swap; Held where a lock was not to be had in time, RebuildRefused where it must not be done.

        `position` is where the store may be read from by those that read it by position.
        """
        self._exchanging = False
        try:
            with self._building.workspace.transaction() as connection:
                self._limit_waits(connection)
                return self._swap(connection, position)
        except SwapBlocked:
            raise
        except Exception as error:
            cause = database_error(error)
            if isinstance(cause, LockNotAvailable):
                raise SwapBlocked(self._blockers()) from error
            if isinstance(cause, DependentObjectsStillExist):  # it came after the rebuild had looked
                self.merge = True
                raise SwapBlocked(f"{cause.diag.message_detail}: the rows will be merged") from error
            if isinstance(cause, QueryCanceled) and not self.merge:  # a foreign key on many rows, for instance
                self.merge = True
                raise SwapBlocked("readers would wait for more than a second: the rows will be merged") from error
            if self._exchanging and cause is not None and (cause.sqlstate or "").startswith(_LASTING):
                raise RebuildRefused(self._never(cause)) from error
            if classify_error(error) is ErrorClass.EVENT or (
                cause is not None and (cause.sqlstate or "").startswith(_LASTING)
            ):
                raise SwapFailing(describe(error)) from error
            if classify_error(error) in (ErrorClass.CONTENTION, ErrorClass.AWAY):
                raise SwapBlocked(describe(error)) from error
            raise translated(error) from error

    def has_happened(self) -> bool:
        """Return whether the rebuild's generation is the live one: asked where the swap's commit was not answered."""
        building = self._building
        with building.workspace.transaction() as connection:
            live = building.projections.fence(connection, building.projection.name)
        return live is not None and live.generation == building.rebuild.generation

    def _limit_waits(self, connection: psycopg.Connection[Any]) -> None:
        timeout = round(self._building.projection.timeout * 1000)
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
        connection.execute(f"set local idle_in_transaction_session_timeout = '{timeout}ms'".encode())

    def _swap(self, connection: psycopg.Connection[Any], position: int) -> Swapped:
        building, name = self._building, self._building.projection.name
        live = building.projections.take(connection, name)
        building.rebuilds.take(connection, name, building.rebuild)
        if live is None:
            raise RebuildRefused(f"projection {name!r} was deleted while it was rebuilt")
        # crash point: locked, not compared -> the locks go with the session, nothing has changed
        caught_up = self._catch_up(connection, live)
        self._refuse_parked(connection, live)
        # crash point: caught up, not renamed -> rolled back: live and shadow are as they were
        new = building.rebuild.live()
        self._hand_over(connection, live, msgspec.structs.replace(new, position=position))
        self._exchanging = True
        merged = self._exchange(connection)
        # crash point: renamed, not committed -> rolled back: live and shadow are as they were
        return Swapped(live.generation, caught_up, merged)

    def _catch_up(self, connection: psycopg.Connection[Any], live: Live) -> int:
        """Apply what the live generation has and the shadow has not; nobody can apply more to either of them."""
        building = self._building
        new = building.rebuild.live()
        lagging = building.checkpoints.lagging(connection, new.generation, live.generation)
        done = Counters()
        lagging = self._without_lost([row for row in lagging if building.projection.reads(row[0])])
        behind = chunks((StreamLag(*row[:3], parked=False) for row in lagging if not row[3]), most=self.most)
        for runs in (part for chunk in behind for part in self._read(chunk)):
            advanced = building.checkpoints.advance(connection, new.generation, [run.span() for run in runs])
            if len(advanced) < len(runs):
                raise RebuildRefused(f"the rebuild of {building.projection.name!r} is written by somebody else")
            building.fold(new, [arrival for run in runs for arrival in run.arrivals], done)
        self._keep_behind(connection, [StreamLag(*row) for row in lagging if row[3]])
        return done.applied

    def _without_lost(self, lagging: list[Lagging]) -> list[Lagging]:
        """Leave out events that the live read model has and the store, after a restore or a failover, has not."""
        if self.versions is None or not lagging:
            return lagging
        known = self.versions([row[0] for row in lagging])
        return [
            (stream, applied, min(version, known.get(stream, 0)), parked)
            for stream, applied, version, parked in lagging
        ]

    def _keep_behind(self, connection: psycopg.Connection[Any], parked: Sequence[StreamLag]) -> None:
        """Keep what the live generation has applied of streams that are parked here: nobody will bring it again."""
        if not parked:
            return
        letters = DeadLetters(self._schema)
        by = parked_by(self._building.projection.name, self._building.rebuild.generation)
        reach = letters.reach(connection, by, [item.stream for item in parked])
        lacking = (item._replace(applied=max(item.applied, reach.get(item.stream, 0)), parked=False) for item in parked)
        for part in (part for chunk in chunks(lacking, most=self.most) for part in self._read(chunk)):
            for run in part:
                letters.keep(connection, by, run.stream, [waiting(arrival) for arrival in run.arrivals])

    def _refuse_parked(self, connection: psycopg.Connection[Any], live: Live) -> None:
        building = self._building
        parked = building.checkpoints.newly_parked(connection, building.rebuild.generation, live.generation)
        if parked and not self.accept_parked:
            raise RebuildRefused(
                f"{len(parked)} streams are parked in the rebuilt read model and not in the live one, as {parked[0]}: "
                "mend the handlers and rebuild, or swap it in as it is with `--resume --accept-parked`"
            )

    def _exchange(self, connection: psycopg.Connection[Any]) -> int | None:
        """Put the shadow's rows in the place of the live ones; return how many were merged."""
        rebuild = self._building.rebuild
        if not self.merge:
            connection.execute(
                _IN_HASTE, (f"{1_000 // max(1, len(self._tables))}ms",)
            )  # one reader may want all of them
            lock_tables(connection, self._tables)
            connection.execute(_AT_ONCE)
        if definition(connection, self._tables) != rebuild.definition:
            raise RebuildRefused(
                f"a table of {self._building.projection.name!r} was altered while it was rebuilt: rebuild it again"
            )
        if self.merge:
            merged = merge_rows(connection, rebuild.shadow, self._tables)
            # crash point: merged, not committed -> rolled back, row by row: live and shadow are as they were
            drop_shadow(connection, rebuild.shadow)
            return merged
        swap_names(connection, rebuild.shadow, self._tables)
        drop_shadow(connection, rebuild.shadow)
        return None

    def _hand_over(self, connection: psycopg.Connection[Any], live: Live, new: Live) -> None:
        building, name = self._building, self._building.projection.name
        tables, categories = [table.place for table in self._tables], building.projection.categories
        building.projections.replace(connection, name, new, tables=tables, categories=categories)
        building.rebuilds.end(connection, name)
        both = {"old": live.generation, "new": new.generation}
        hand_over(connection, self._schema, name=name, **both, categories=categories)
        old_by, new_by = parked_by(name, live.generation), parked_by(name, new.generation)
        keep_malformed(connection, self._schema, old=old_by, new=new_by)

    def _never(self, cause: psycopg.Error) -> str:
        """Say why no later attempt would succeed."""
        how = "merged into the live ones" if self.merge else "put in their place"
        return (
            f"the rows that were rebuilt for {self._building.projection.name!r} cannot be {how}: "
            f"{cause.diag.message_primary}; change the constraint, or the rows that stand against it, then go on with "
            "`--resume`; the live read model is as it was"
        )

    def _blockers(self) -> str:
        building = self._building
        with building.workspace.transaction() as connection:
            gate = building.projections.gate(building.projection.name)
            return lock_holders(connection, gate=gate, oids=[table.oid for table in self._tables])


def prefers_merge(connection: psycopg.Connection[Any], tables: Sequence[LiveTable], name: str) -> bool:
    """Return whether something needs the tables themselves, and say what."""
    if needing := needs_itself(connection, tables):
        logger.info("%s: the rows will be merged into the live tables, for %s", name, ", ".join(needing))
    return bool(needing)
