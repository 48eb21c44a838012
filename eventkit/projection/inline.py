"""Inline projections: applied by the append, in the caller's transaction, with the same result as in a projector.

The append calls them between its two savepoint statements (`eventkit.storage.events.inline_append`). They use a
projector's fence, checkpoints and handlers, so other processes that run the projection skip these events.
The append's own statement takes the fences and advances the checkpoints (`events/inline_sql.py`). Streams that it could
not advance are applied as a projector does. A stream that is new to the projection is first applied from the store.

A failing handler, or a declared version that is not live, fails the append. A parked stream keeps its new events behind
its dead letters.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import message_of
from eventkit.errors import ProjectionError
from eventkit.observability.liveness import waiting_for
from eventkit.projection.apply import (
    BatchApplier,
    Decrypter,
    Doubt,
    DuplicateChecks,
    RepairOptions,
    Stopped,
    StreamRepair,
)
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.caller_transaction import ASYNC_INLINE, CallerTransaction
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection
from eventkit.projection.rebuild import chunks, parts_of, runs_of
from eventkit.storage.entry import Entry
from eventkit.storage.events import (
    Advanced,
    InlineContext,
    Inlined,
    Missing,
    OwnHistory,
    StreamLog,
    Target,
    advanced,
    appended_events,
)
from eventkit.storage.projections import Checkpoint, Live, StreamLag, register


class Inline:
    """Projections for `EventStore(catalog, inline=Inline(totals))`."""

    def __init__(self, *projections: Projection) -> None:
        """Take table and SQL projections; raise ProjectionError for others, which only a projector runs."""
        for projection in projections:
            if projection.acts:
                raise ProjectionError(
                    f"{projection.name!r} acts, which an append must not do: run it with `eventkit projector run`"
                )
            if projection.asynchronous:
                raise ProjectionError(f"projection {projection.name!r} is inline: {ASYNC_INLINE}")
        in_order = sorted(projections, key=lambda projection: projection.name)  # one order for all locks
        self._projections = {projection.name: projection for projection in in_order}
        if len(self._projections) < len(projections):
            names = ", ".join(repr(projection.name) for projection in in_order)
            raise ProjectionError(f"Inline was given two projections of one name ({names}): give each its own")

    def targets(self, entries: Sequence[Entry]) -> list[Target]:
        """Return the projections that read some of the entries, with the numbers of these."""
        found = []
        for projection in self._projections.values():
            read = tuple([nth for nth, e in enumerate(entries, 1) if e.events and projection.reads(e.stream)])
            if read:
                found.append(Target(projection.name, projection.version, read))
        return found

    def apply_appended(self, context: InlineContext, append: Inlined) -> None:
        """Apply the events of an append to each projection."""
        workspace = CallerTransaction(context.opened)
        rows = append.written.rows
        events = appended_events(append.source, append.entries, rows)
        with workspace.in_utc(), workspace.kept_open():
            for place, target in enumerate(append.targets):
                projection = self._projections[target.name]
                workspace.check_schemas(projection.name, projection.tables)
                theirs = [event for event in events if projection.reads(event.stream)]
                done = advanced(rows, place)
                try:
                    if done is not None and context.masters is None and _is_plain(projection, theirs, done):
                        _fold(projection, workspace, theirs)
                    else:
                        _apply_runs(projection, workspace, context, _Followed(append, theirs, done))
                except Exception as error:
                    error.add_note(f"inline projection {projection.name!r} failed: nothing of this append was written")
                    raise


class _Followed(NamedTuple):
    """An append, its events that a projection reads, and the streams that it has advanced."""

    append: Inlined
    events: list[EncodedEvent]
    done: Advanced | None


def _is_plain(projection: Projection, events: Sequence[EncodedEvent], done: Advanced) -> bool:
    """Return whether the append has advanced all streams, and the handlers need nothing but the events."""
    if done.unfounded or projection.handlers.has_limits or projection.since is not None:
        return False
    return all(event.stream in done.streams for event in events)


def _fold(projection: Projection, workspace: CallerTransaction, events: Sequence[EncodedEvent]) -> None:
    """Decode and apply events whose checkpoints the append has advanced, without a projector's batch around them."""
    steps = [step for event in events if (step := projection.handlers.decode_stored(event)) is not None]
    with waiting_for("a handler", seconds=projection.idle_limit):
        projection.apply(workspace, steps)


def _apply_runs(
    projection: Projection, workspace: CallerTransaction, context: InlineContext, followed: _Followed
) -> None:
    """Apply events as a projector does."""
    log = StreamLog(workspace.connection, context.schema)
    runs = [run for run in _runs(log, followed) if projection.reads(run.stream)]
    applier = _InlineApplier(projection, workspace, schema=context.schema, decrypter=_decrypter(context))
    left = applier.fold_advanced(runs, followed.done)
    for stopped in applier.apply(left, Counters()) if left else ():
        _apply_stopped(applier, log, stopped, context.schema)


class _InlineApplier(BatchApplier):
    """Applies in the caller's transaction."""

    def fence(self, connection: psycopg.Connection[Any]) -> Live:
        """Lock the projection's row until the caller's commit; register the projection if it has no row."""
        live = self.projections.fence(connection, self.projection.name)
        return self.checked(self._registered() if live is None else live)

    def _registered(self) -> Live | None:
        """Create and lock the row, without the server's identity: only a projector has the right to read that."""
        self.projection.catalog.check()
        with self.workspace.transaction() as connection:
            self.projection.check(connection)
            register(connection, self.schema, self.projection.declared(connection))
            return self.projections.fence(connection, self.projection.name)

    def fold_advanced(self, runs: Sequence[Run], done: Advanced | None) -> Sequence[Run]:
        """Apply the runs whose checkpoints the append has advanced under its fence; return the others."""
        if done is None:
            return runs
        if done.unfounded:
            self.checkpoints.take_back(self.workspace.connection, done.generation, list(done.unfounded))
        arrivals = [arrival for run in runs if run.stream in done.streams for arrival in run.arrivals]
        if arrivals:
            self.fold(arrivals, Counters())
        return [run for run in runs if run.stream not in done.streams]


def _runs(log: StreamLog, followed: _Followed) -> list[Run]:
    """Return the appended events, one whole run a stream; events of a repeated append are read back."""
    written = followed.append.written
    if not written.rows:
        return runs_of(log, [Missing(str(at.stream), at.version - len(at.ids), at.version) for at in written.appended])
    runs: dict[str, Run] = {}
    for event in followed.events:
        arrival = Arrival(event.stream, event.version, message_of(event, "", tag=event.position), event.position)
        runs.setdefault(event.stream, Run(event.stream, [])).arrivals.append(arrival)
    return list(runs.values())


def _apply_stopped(applier: BatchApplier, log: StreamLog, stopped: Stopped, schema: str) -> None:
    """Apply a stream that did not advance, under its checkpoint's lock; keep its events if it is parked."""
    run, checkpoint = stopped.run, stopped.checkpoint
    version = checkpoint.version if checkpoint else 0
    if checkpoint and checkpoint.parked:
        repair = StreamRepair(applier, OwnHistory(applier.workspace.connection, schema))
        left = repair.repair(run, Counters(), RepairOptions())
        while left is not None:
            left = repair.repair(left, Counters(), RepairOptions())
        return
    if checkpoint and (fork := _fork(applier, checkpoint, run, schema)):
        raise ProjectionError(
            f"projection {applier.projection.name!r} has applied other events of {run.stream}: {fork}; "
            f"rebuild it with `eventkit projection rebuild {applier.projection.path}`"
        )
    behind = StreamLag(run.stream, version, run.arrivals[-1].version, parked=False)
    for part in (part for chunk in chunks([behind]) for part in parts_of(log, chunk)):
        if applier.apply(part, Counters()):
            raise ProjectionError(f"projection {applier.projection.name!r} is moved on {run.stream} by another process")


def _fork(applier: BatchApplier, checkpoint: Checkpoint, run: Run, schema: str) -> str:
    """Return the difference between appended events and the applied ones of the same versions; empty if none."""
    version = checkpoint.version
    if run.is_below(version):  # a repeated append with the same ids, or a restored store
        history = OwnHistory(applier.workspace.connection, schema)
        return DuplicateChecks(history, applier.recent).judge([Doubt(checkpoint, run.arrivals)])[0].reason
    if version >= run.arrivals[0].version and not run.contains(version, checkpoint.event_id):
        return f"version {version} is {checkpoint.event_id}"
    return ""


def _decrypter(context: InlineContext) -> Decrypter | None:
    if context.masters is None:
        return None
    return Decrypter(context.masters, context.schema, lambda: context.opened.connection)
