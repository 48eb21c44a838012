"""Process managers: what happens next, over several streams and a long time, each step exactly once in effect.

A process manager is a table projection whose handlers may also act. A process is a row of the service's own table,
locked while it is changed, so that events of different streams, read by different processes, lose nothing. What the
handlers append, set and cancel is committed with the rows and the checkpoints. Run by `eventkit projector run`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Table

from eventkit.errors import ProjectionError
from eventkit.messaging.reaction import Reaction
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.define import Projection, TableProjection
from eventkit.projection.dispatch import Step
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.db import Executor
from eventkit.storage.events import EventStore, merged
from eventkit.storage.timers import TimerSql, cancel_steps, set_steps


class ProcessManager(TableProjection):
    """Rows of processes, and what they do next.

        fulfilment = ProcessManager("fulfilment", store, table=fulfilments, key="order")

        @fulfilment.on(OrderPlaced)
        def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
            reaction.append(shop.stream("charge_card", event.order), ChargeCard(event.total))
            reaction.deadline(reaction.envelope.stream, PaymentOverdue(event.order), timedelta(days=3))

    A handler takes the row (loaded, or new with the table's defaults), the event and, if it wants, the `Reaction`; it
    returns DELETE to delete the row. It must depend on nothing else, and do nothing else; it may be `async def`.
    """

    kind = "process manager"
    acts = True
    awaits = True

    def __init__(  # noqa: PLR0913 what all projections have, and a table
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
        """Declare it; `key` is a column, or several. Events that were recorded before `since` have no effect.

        `concurrency` is how many transactions run at a time in one process where a handler is `async def`.
        """
        super().__init__(name, store.catalog, table=table, key=key, categories=categories, retry=retry)
        self.declare_concurrency(concurrency)
        self.since = since
        if since is not None and since.tzinfo is None:
            raise ProjectionError(f"process manager {name!r}: since={since} has no time zone")
        self._store = store
        self._timers = TimerSql(store.schema)
        self._door = Executor(name, writes=True, bind_arguments=None)

    def apply(self, workspace: OwnTransaction, shadow: str | None, steps: Sequence[Step]) -> None:
        """Fold the rows, then write what the handlers want to happen."""
        if not steps:
            return
        reactions: dict[int, Reaction] = {}  # by step: one whose row another process created is called again

        def call(row: object, step: Step) -> object:
            reaction = None
            if step.envelope is not None:  # else the handler takes no reaction
                reaction = reactions[id(step)] = Reaction(self._store, step.envelope)
            if step.handler.asynchronous:
                return workspace.call_async([AsyncCall(step, step.handler.function, (row, step.event, reaction))])[0]
            return step.handler.function(row, step.event, reaction)

        self.fold(workspace.connection, shadow, steps, call)
        self._write(workspace.connection, list(reactions.values()))

    def _write(self, connection: psycopg.Connection[Any], reactions: Sequence[Reaction]) -> None:
        """Write deadlines, then events: rows, deadlines, streams is the order in which everything here is locked."""
        timers = {place: deadline for reaction in reactions for place, deadline in reaction.timers.items()}
        to_set = [deadline for deadline in timers.values() if deadline is not None]
        to_cancel = [place for place, deadline in timers.items() if deadline is None]
        if to_cancel:
            self._door.run(connection, cancel_steps(self._timers, to_cancel))
        if to_set:
            self._door.run(connection, set_steps(self._timers, self.catalog, to_set, self._store.sealing))
        self._store.write(connection, merged(entry for reaction in reactions for entry in reaction.entries))
