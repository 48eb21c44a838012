"""Applies a batch in one transaction: takes the fence, advances checkpoints in stream order, then calls the handlers.

Only runs that begin right above their stream's checkpoint are applied; the others are returned with their checkpoint. A
process whose declared version is not the live one applies nothing.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import (
    DatabaseUnavailable,
    NewerSchema,
    ProjectionDeleted,
    ProjectionPaused,
    UndecodableEvent,
    UnknownEventType,
    VersionMismatch,
)
from eventkit.observability.instruments import is_enabled
from eventkit.observability.liveness import waiting_for
from eventkit.observability.metrics import APPLIED_AFTER
from eventkit.observability.sampling import observe_ages, recorded_times
from eventkit.projection.apply.decrypter import Decrypter
from eventkit.projection.apply.duplicates import Recent
from eventkit.projection.batch import Arrival, Run, spans
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection, group_of
from eventkit.projection.dispatch import Step
from eventkit.projection.reached import Reached
from eventkit.projection.transaction import Workspace
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


class Registration(NamedTuple):
    """A registered projection: its live generation, and its consumer group."""

    live: Live
    group: str


class Stopped(msgspec.Struct):
    """A run whose stream did not advance, and its checkpoint, if there is one."""

    run: Run
    checkpoint: Checkpoint | None
    locked: bool = False  # by another transaction


class BatchApplier:
    """Applies runs of events to one projection over one connection."""

    def __init__(
        self,
        projection: Projection,
        workspace: Workspace,
        *,
        schema: str,
        decrypter: Decrypter | None = None,
        recent: Recent | None = None,
    ) -> None:
        """Work on the workspace's connection; `decrypter` decrypts personal data, lanes share `recent`."""
        self.projection = projection
        self.workspace = workspace
        self.checkpoints = Inbox(schema, projection.name) if projection.unversioned else Checkpoints(schema)
        self.projections = ProjectionRegistry(schema)
        self.places = BrokerPlaces(schema)
        self._places_saved: dict[tuple[str, int], tuple[int, ...]] = {}  # by this process
        self.schema = schema
        self.decrypter = decrypter
        self.recent = recent or Recent()
        self._table = 0  # file number of the table `projections`, which a restore changes; set by the first fence
        self.fenced = False  # whether the open or last transaction holds the fence
        self._has_decrypted = False  # whether handlers of the last batch got decrypted personal data
        self._position = 0  # the saved one, as this process knows it, if the source is the store

    @property
    def private(self) -> bool:
        """Whether an error message may quote personal data, of events or of rows made from them."""
        catalog = self.projection.catalog
        return self._has_decrypted or any(catalog.is_personal(kind.cls) for kind in catalog.types)

    def register(self, *, known: bool = False) -> Registration:
        """Create the projection's row if it is new, and check that this process may apply.

        Raise ProjectionDeleted if the projection is `known` and its row is gone, VersionMismatch if another version is
        live.
        """
        self.projection.catalog.check()
        with self.workspace.transaction() as connection:
            if known:
                self.fence(connection)
            self.projection.check(connection)
            group = self._register(connection)
            live = self.fence(connection)
        self._position = live.position
        return Registration(live, group)

    def _register(self, connection: psycopg.Connection[Any]) -> str:
        """Create the projection's row if it is new, and return the name of its consumer group.

        Refuse a projection with side effects on a copied database.
        """
        check = refuse_moved if self.projection.acts else remember
        installation = check(connection, self.schema)
        declared = self.projection.declared(connection)
        incarnation = register(connection, self.schema, declared, server=str(installation.here))
        return group_of(self.projection, installation.id, incarnation)

    def begins(self) -> bool:
        """Return whether the live generation has no checkpoint yet."""
        with self.workspace.transaction() as connection:
            return not self.checkpoints.any(connection, self.fence(connection).generation)

    def fence(self, connection: psycopg.Connection[Any]) -> Live:
        """Lock the projection's row until the transaction ends.

        Raise VersionMismatch if another version is live, ProjectionPaused if an operator has paused it.
        """
        self.fenced = False
        live = self.checked(self.projections.fence(connection, self.projection.name))
        if live.paused is not None:
            raise ProjectionPaused(_paused(self.projection.name, *live.paused))
        self._refuse_restored(live)
        self.fenced = True
        return live

    def _refuse_restored(self, live: Live) -> None:
        """Raise DatabaseUnavailable if the tables were restored: this process has read beyond their state."""
        if self._table and live.table != self._table:
            raise DatabaseUnavailable(
                f"the tables of the database were made anew while {self.projection.name!r} was running, as by a "
                "restore: the projector restarts at the saved position"
            )
        self._table = live.table

    def checked(self, live: Live | None) -> Live:
        """Return the live generation; raise an error if this process may not apply to it."""
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

        `done` counts the committed events. `around_locks` leaves out streams whose checkpoints other transactions have
        locked; any other lock fails after 50 ms with `LockNotAvailable`.
        """
        counted = Counters()
        saves, locked = None, set[str]()
        with self.workspace.transaction() as connection:
            live = self.fence(connection)
            if around_locks:
                connection.execute(SHORT_WAIT)
                locked = self.checkpoints.locked(connection, live.generation, [run.stream for run in runs])
            free = spans([run for run in runs if run.stream not in locked] if locked else runs)
            advanced = self.checkpoints.advance(connection, live.generation, free) if free else set()
            stopped = [run for run in runs if run.stream not in advanced]
            moved = [run for run in runs if run.stream in advanced] if stopped else runs
            self.fold([arrival for run in moved for arrival in run.arrivals], counted)
            known = (
                self.checkpoints.read(connection, live.generation, [run.stream for run in stopped]) if stopped else {}
            )
            if reached is not None and not stopped:  # the position is saved once all events below it are applied
                saves = self._save(connection, reached)
        self._saved(saves)
        done += counted
        self.recent.add(b"".join([run.ids for run in moved]))
        return [Stopped(run, known.get(run.stream), run.stream in locked) for run in stopped]

    def write_waits(self, process: str, waiting: Sequence[WaitingHandler]) -> None:
        """Write the handlers whose events wait in this process, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            HandlerWaits(self.schema).write(connection, self.projection.name, process, waiting)

    def follow(self, group: str, broker: str, topics: Sequence[str]) -> None:
        """Record a consumer group before it is joined, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            name = self.projection.name
            ConsumerGroups(self.schema).follow(connection, group, broker=broker, projection=name, topics=topics)

    def save(self, reached: Reached) -> None:
        """Save the source's position and offsets, in a transaction of its own."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            saves = self._save(connection, reached)
        self._saved(saves)

    def read_again(self) -> None:
        """Reset the saved position, so that the store is read from its beginning; checkpoints skip applied events."""
        with self.workspace.transaction() as connection:
            self.fence(connection)
            self.projections.read_again(connection, self.projection.name)
        self._position = 0

    def unsaved(self, reached: Reached) -> Reached | None:
        """Return the part of a position and its offsets that is not saved yet."""
        position = reached.position if reached.position is not None and reached.position > self._position else None
        marks = [mark for mark in reached.marks if self._places_saved.get((mark.topic, mark.shard)) != mark.place]
        return Reached(position, marks) if position is not None or marks else None

    def _save(self, connection: psycopg.Connection[Any], reached: Reached) -> Reached:
        """Save a position and offsets; return those saved. Offset rows that another process locks are left out."""
        if reached.position is not None:
            self.projections.save_position(connection, self.projection.name, reached.position)
        if not reached.marks:
            return reached
        moved = self.places.save(connection, self.projection.name, reached.marks)
        return Reached(reached.position, [mark for mark in reached.marks if (mark.topic, mark.shard) in moved])

    def _saved(self, reached: Reached | None) -> None:
        if reached is not None:
            self._position = self._position if reached.position is None else reached.position
            self._places_saved.update({(mark.topic, mark.shard): mark.place for mark in reached.marks})

    def fold(self, arrivals: Sequence[Arrival], counted: Counters) -> None:
        """Decode and apply events whose checkpoints this transaction has advanced."""
        opened = self._decrypted(arrivals)
        self._has_decrypted = bool(opened)
        steps = self._decoded(arrivals, opened)
        limit = self._limit(steps)
        with waiting_for("a handler", seconds=limit):
            self.projection.apply(self.workspace, steps)
        if is_enabled() and arrivals:
            times = recorded_times(arrivals, lambda arrival: arrival.time)
            self.workspace.when_committed(partial(observe_ages, APPLIED_AFTER, times, self.projection.name))
        counted.applied += len(arrivals)
        counted.unhandled += len(arrivals) - len(steps)

    def _limit(self, steps: Sequence[Step]) -> float:
        """Return how many seconds the batch may be idle between two statements: the longest timeout of its handlers.

        The session's own limit is set to it, where it is not that of the connection.
        """
        if not self.projection.handlers.has_limits or not steps:
            return self.projection.idle_limit
        limits = [self.projection.timeout if (own := step.handler.policy.timeout) is None else own for step in steps]
        seconds = max(limits) + self.projection.idle_limit - self.projection.timeout
        limit = f"set local idle_in_transaction_session_timeout = '{round(1000 * seconds)}ms'"
        self.workspace.connection.execute(limit.encode())
        return seconds

    def _decrypted(self, arrivals: Sequence[Arrival]) -> dict[int, EncodedEvent]:
        if self.decrypter is None:
            return {}
        return self.decrypter.opened([arrival for arrival in arrivals if self.projection.handlers.handles(arrival)])

    def _decoded(self, arrivals: Sequence[Arrival], opened: Mapping[int, EncodedEvent]) -> list[Step]:
        if opened or self.projection.since is not None:
            steps: list[Step | None] = [None] * len(arrivals)
        else:
            steps = self.projection.handlers.decode_plain(arrivals)
        if not all(steps):
            found = zip(arrivals, steps, strict=True)
            steps = [step or self._decode(arrival, opened.get(id(arrival))) for arrival, step in found]
        return [step for step in steps if step is not None]

    def _decode(self, arrival: Arrival, opened: EncodedEvent | None) -> Step | None:
        """Decode an event by itself; return None if it has no handler, or is older than the handlers' events."""
        since, handlers = self.projection.since, self.projection.handlers
        try:
            if since is not None and handlers.handles(arrival) and arrival.time < since:
                return None
            return handlers.decode(arrival, opened)
        except UnknownEventType as error:  # headers that contradict each other name a handled type and another one
            raise UndecodableEvent(str(error)) from error
        except (UndecodableEvent, NewerSchema):
            raise
        except (TypeError, ValueError, msgspec.MsgspecError) as error:  # an invalid id or time
            raise UndecodableEvent(f"{arrival.stream} version {arrival.version}: {error}") from error


def _paused(name: str, by: str, reason: str) -> str:
    why = f" ({reason})" if reason else ""
    return f"projection {name!r} is paused by {by}{why}: it applies nothing until `eventkit projection resume {name}`"


def _another_version(projection: Projection, live: Live) -> str:
    here, there = projection.version, live.declared_version
    versions = f"projection {projection.name!r} is declared with version {here}, live is version {there}: nothing is"
    if here < there:
        return f"{versions} applied by the older code: start the code of version {there} instead"
    return f"{versions} applied until it is rebuilt: run `eventkit projection rebuild {projection.path}`"
