"""The transaction of a batch: the fence, the checkpoints in order of stream, then the fold of what advanced.

Only streams whose checkpoint is exactly below their run are applied; the others are returned with the checkpoint that
stopped them. A process whose declared version is not the live one applies nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import (
    DatabaseUnavailable,
    NewerSchema,
    ProjectionDeleted,
    UndecodableEvent,
    UnknownEventType,
    VersionMismatch,
)
from eventkit.projection.apply.decrypter import Decrypter
from eventkit.projection.apply.duplicates import Recent
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection, group_of
from eventkit.projection.dispatch import Step
from eventkit.projection.reached import Reached
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.projections import (
    BrokerPlaces,
    Checkpoint,
    Checkpoints,
    ConsumerGroups,
    HandlerWaits,
    Inbox,
    Live,
    ProjectionRegistry,
    WaitingHandler,
    register,
)
from eventkit.storage.schema import refuse_moved, remember

SHORT_WAIT = b"set local lock_timeout = '50ms'"


class Stopped(msgspec.Struct):
    """A run whose stream did not advance, and the checkpoint as it is (None: there is none)."""

    run: Run
    checkpoint: Checkpoint | None
    locked: bool = False  # by another transaction


class BatchApplier:
    """Applies runs of events to one projection."""

    def __init__(
        self,
        projection: Projection,
        workspace: OwnTransaction,
        *,
        schema: str,
        decrypter: Decrypter | None = None,
        recent: Recent | None = None,
    ) -> None:
        """Work on the workspace's connection; `opening` opens personal data, `recent` is shared by lanes."""
        self.projection = projection
        self.workspace = workspace
        self.checkpoints = Inbox(schema, projection.name) if projection.unversioned else Checkpoints(schema)
        self.projections = ProjectionRegistry(schema)
        self.places = BrokerPlaces(schema)
        self._places_saved: dict[tuple[str, int], tuple[int, ...]] = {}  # by this process
        self.group = ""  # at a broker that has consumer groups; known when the projection is registered
        self._schema = schema
        self.decrypter = decrypter
        self.recent = recent or Recent()
        self._table = 0  # the file that the projections are in; known from the first fence on
        self.fenced = False  # whether the open transaction, or the last one, was behind the fence
        self._has_opened = False  # whether handlers have seen personal data since the last batch began
        self.saved = 0  # the position that this process has saved, where the source is the store

    @property
    def private(self) -> bool:
        """Whether what an error says may hold personal data: of the events, or of rows that were made of some."""
        catalog = self.projection.catalog
        return self._has_opened or any(catalog.is_personal(kind.cls) for kind in catalog.types)

    def register(self, *, known: bool = False) -> Live:
        """Create the projection's row if it is new, and check that this process may apply.

        Where it is `known` and its row is gone, it was deleted: ProjectionDeleted.
        """
        self.projection.catalog.check()
        with self.workspace.transaction() as connection:
            if known:
                self.fence(connection)
            self.projection.check(connection)
            self._register(connection)
            return self.fence(connection)

    def _register(self, connection: psycopg.Connection[Any]) -> None:
        """Create the projection's row if it is new; what acts does so only where it may act."""
        ask = refuse_moved if self.projection.acts else remember
        installation = ask(connection, self._schema)
        declared = self.projection.declared(connection)
        incarnation = register(connection, self._schema, declared, server=str(installation.here))
        self.group = group_of(self.projection, installation.id, incarnation)

    def begins(self) -> bool:
        """Return whether the live generation has no checkpoint yet."""
        with self.workspace.transaction() as connection:
            return not self.checkpoints.any(connection, self.fence(connection).generation)

    def fence(self, connection: psycopg.Connection[Any]) -> Live:
        """Hold the projection's row until the transaction ends; VersionMismatch when another version is live."""
        self.fenced = False
        live = self.checked(self.projections.fence(connection, self.projection.name))
        self._refuse_restored(live)
        self.fenced = True
        return live

    def _refuse_restored(self, live: Live) -> None:
        """Apply nothing to tables that were restored: what this process has read is ahead of them."""
        if self._table and live.table != self._table:
            raise DatabaseUnavailable(
                f"the tables of the database were made anew while {self.projection.name!r} was running, as by a "
                "restore: it begins again at the place that they have"
            )
        self._table = live.table

    def checked(self, live: Live | None) -> Live:
        """Return what is live, if this process may apply to it."""
        if live is None:
            raise ProjectionDeleted(
                f"projection {self.projection.name!r} is not registered any more: start its projector again"
            )
        if live.declared_version != self.projection.version:
            raise VersionMismatch(_another_version(self.projection, live))
        return live

    def apply(
        self, runs: Sequence[Run], done: Counters, *, reached: Reached | None = None, around_locks: bool = False
    ) -> list[Stopped]:
        """Apply whole runs, one a stream, in one transaction; return those that did not advance.

        What was committed is added to `done`. `around_locks` leaves out streams whose checkpoints others have locked,
        and waits for no lock for long: a `LockNotAvailable` says that some must wait.
        """
        counted = Counters()
        saves, locked = None, set[str]()
        with self.workspace.transaction() as connection:
            live = self.fence(connection)
            if around_locks:
                connection.execute(SHORT_WAIT)
                locked = self.checkpoints.locked(connection, live.generation, [run.stream for run in runs])
            free = [run.span() for run in runs if run.stream not in locked]
            advanced = self.checkpoints.advance(connection, live.generation, free) if free else set()
            self.fold(live, [arrival for run in runs if run.stream in advanced for arrival in run.arrivals], counted)
            stopped = [run for run in runs if run.stream not in advanced]
            known = (
                self.checkpoints.read(connection, live.generation, [run.stream for run in stopped]) if stopped else {}
            )
            if reached is not None and not stopped:  # it is saved when all below it is done, not before
                saves = self._save(connection, reached)
        self._saved(saves)
        done += counted
        self.recent.add(b"".join([run.ids for run in runs if run.stream in advanced]))
        return [Stopped(run, known.get(run.stream), run.stream in locked) for run in stopped]

    def write_waits(self, process: str, waiting: Sequence[WaitingHandler]) -> None:
        """Write which handlers' events wait in this process, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            HandlerWaits(self._schema).write(connection, self.projection.name, process, waiting)

    def follow(self, group: str, broker: str, topics: Sequence[str]) -> None:
        """Record the group that is about to be joined, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            name = self.projection.name
            ConsumerGroups(self._schema).follow(connection, group, broker=broker, projection=name, topics=topics)

    def save(self, reached: Reached) -> None:
        """Remember how far the source has been read, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            saves = self._save(connection, reached)
        self._saved(saves)

    def read_again(self) -> None:
        """Let the store be read from its beginning: checkpoints know what was applied."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            self.projections.read_again(connection, self.projection.name)
        self.saved = 0

    def unsaved(self, reached: Reached) -> Reached | None:
        """Return what of it is not saved yet."""
        position = reached.position if reached.position is not None and reached.position > self.saved else None
        marks = [mark for mark in reached.marks if self._places_saved.get((mark.topic, mark.shard)) != mark.place]
        return Reached(position, marks) if position is not None or marks else None

    def _save(self, connection: psycopg.Connection[Any], reached: Reached) -> Reached:
        """Save it; return what could be saved without waiting for a process that hangs."""
        if reached.position is not None:
            self.projections.save_position(connection, self.projection.name, reached.position)
        if not reached.marks:
            return reached
        moved = self.places.save(connection, self.projection.name, reached.marks)
        return Reached(reached.position, [mark for mark in reached.marks if (mark.topic, mark.shard) in moved])

    def _saved(self, reached: Reached | None) -> None:
        if reached is not None:
            self.saved = self.saved if reached.position is None else reached.position
            self._places_saved.update({(mark.topic, mark.shard): mark.place for mark in reached.marks})

    def fold(self, live: Live, arrivals: Sequence[Arrival], counted: Counters) -> None:
        """Decode and apply events whose checkpoints this transaction has advanced."""
        opened = self._opened(arrivals)
        self._has_opened = bool(opened)
        steps = self._decoded(arrivals, opened)
        if self.projection.handlers.has_limits and steps:
            self._limit(steps)
        self.projection.apply(self.workspace, live.shadow, steps)
        counted.applied += len(arrivals)
        counted.unhandled += len(arrivals) - len(steps)

    def _limit(self, steps: Sequence[Step]) -> None:
        """Let handlers take as long as the most patient of them may."""
        limits = [self.projection.timeout if (own := step.handler.policy.timeout) is None else own for step in steps]
        seconds = max(limits) + self.projection.idle_limit - self.projection.timeout
        limit = f"set local idle_in_transaction_session_timeout = '{round(1000 * seconds)}ms'"
        self.workspace.connection.execute(limit.encode())

    def _opened(self, arrivals: Sequence[Arrival]) -> dict[int, EncodedEvent]:
        if self.decrypter is None:
            return {}
        return self.decrypter.opened([arrival for arrival in arrivals if self.projection.handlers.handles(arrival)])

    def _decoded(self, arrivals: Sequence[Arrival], opened: Mapping[int, EncodedEvent]) -> list[Step]:
        since, handlers, steps = self.projection.since, self.projection.handlers, list[Step]()
        for arrival in arrivals:
            try:
                if since is not None and handlers.handles(arrival) and arrival.time < since:
                    continue
                step = handlers.decode(arrival, opened.get(id(arrival)) if opened else None)
            except UnknownEventType as error:  # of our handlers, yet not of the catalog: the same as undecodable
                raise UndecodableEvent(str(error)) from error
            except (UndecodableEvent, NewerSchema):
                raise
            except (TypeError, ValueError, msgspec.MsgspecError) as error:  # an id or a time that is none
                raise UndecodableEvent(f"{arrival.stream} version {arrival.version}: {error}") from error
            if step is not None:
                steps.append(step)
        return steps


def _another_version(projection: Projection, live: Live) -> str:
    here, there = projection.version, live.declared_version
    declared = f"projection {projection.name!r} is declared with version {here}, live is version {there}: nothing is"
    if here < there:
        return f"{declared} applied by the older code: start the code of version {there} in its place"
    return f"{declared} applied until it is rebuilt: run `eventkit projection rebuild {projection.path}`"
