"""Process managers: long-running processes over several streams, each step with effect exactly once.

A process manager is a table projection whose handlers may also act. A process is a row of the service's own table. The
row is locked while it changes, so no event is lost when workers apply events of different streams at a time. Appended
events and deadlines are committed with the rows and the checkpoints. `eventkit projector run` runs it.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any

import psycopg
from sqlalchemy import Table

from eventkit.errors import ProjectionError
from eventkit.messaging.reaction import MAX_BYTES, Reaction, ReactionRoom, in_parts, pieces, weight
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.define import Projection, TableProjection
from eventkit.projection.dispatch import Step
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import Workspace
from eventkit.storage.db import Executor
from eventkit.storage.events import EventStore, encryption_of, merged, write_entries
from eventkit.storage.timers import TimerSql, cancel_steps, set_steps


class ProcessManager(TableProjection):
    """Handlers that change the row of a process, append events, and set deadlines.

        fulfilment = ProcessManager("fulfilment", store, table=fulfilments, key="order")

        @fulfilment.on(OrderPlaced)
        def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
            reaction.append(shop.stream("charge_card", event.order), ChargeCard(event.total))
            reaction.deadline(reaction.envelope.stream, PaymentOverdue(event.order), timedelta(days=3))

    A handler takes the row (loaded, or new with the table's defaults), the event and optionally the `Reaction`; it
    returns DELETE to delete the row. It must not depend on anything else, or do anything else; it may be `async def`.
    """

    kind = "process manager"
    acts = True
    awaits = True

    def __init__(  # noqa: PLR0913 the options of all projections, and a table
        self,
        name: str,
        store: EventStore,
        *,
        table: Table | type[Any],
        key: str | Sequence[str],
        categories: Sequence[str] = (),
        since: datetime | None = None,
        retry: Retry | None = None,
        concurrency: int = Projection.concurrency,
    ) -> None:
        """Declare a process manager; `key` is a column of `table`, or several.

        Events that were recorded before `since` have no effect. `concurrency` limits the parallel transactions of one
        process with `async def` handlers.
        """
        super().__init__(name, store.catalog, table=table, key=key, categories=categories, retry=retry)
        self.declare_concurrency(concurrency)
        self.since = since
        if since is not None and since.tzinfo is None:
            raise ProjectionError(f"process manager {name!r}: since={since} has no time zone")
        self._store = store
        self._timers = TimerSql(store.schema)
        self._executor = Executor(name, writes=True, bind_arguments=None)

    def apply(self, workspace: Workspace, steps: Sequence[Step]) -> None:
        """Fold the rows, then write the reactions of the handlers."""
        if not steps:
            return
        reactions: dict[int, Reaction] = {}  # by step: a handler is called again if another process has created its row
        room = ReactionRoom(MAX_BYTES // self.lanes)

        def call(row: object, step: Step) -> object:
            reaction = None
            if step.envelope is not None:  # else the handler takes no reaction
                if (earlier := reactions.get(id(step))) is not None:
                    room.give_back(earlier.size)
                reaction = reactions[id(step)] = Reaction(self._store, step.envelope, room)
            if step.handler.asynchronous:
                result = workspace.call_async([AsyncCall(step, step.handler.function, (row, step.event, reaction))])[0]
            else:
                result = step.handler.function(row, step.event, reaction)
            room.check()
            return result

        try:
            self.fold(workspace, steps, call)
        except BaseException:  # its traceback outlives this batch: the halves are tried while it is held
            for reaction in reactions.values():
                reaction.clear()
            raise
        self._write(workspace.connection, [reactions[id(step)] for step in steps if id(step) in reactions])

    def _write(self, connection: psycopg.Connection[Any], reactions: Sequence[Reaction]) -> None:
        """Write deadlines, then events: all code here locks rows, deadlines and streams in this order."""
        timers = {place: deadline for reaction in reactions for place, deadline in reaction.timers.items()}
        to_set = [deadline for deadline in timers.values() if deadline is not None]
        to_cancel = [place for place, deadline in timers.items() if deadline is None]
        if to_cancel:
            self._executor.run(connection, cancel_steps(self._timers, to_cancel))
        for deadlines in in_parts(to_set, key=itemgetter(0, 1), size=lambda one: weight([one.event])):
            steps = set_steps(self._timers, self.catalog, deadlines, encryption_of(self._store))
            self._executor.run(connection, steps)
        entries = merged(entry for reaction in reactions for entry in reaction.entries)
        cut = [piece for entry in entries for piece in pieces(entry)]
        for part in in_parts(cut, key=attrgetter("stream"), size=lambda one: weight(one.events)):
            write_entries(self._store, connection, part)
