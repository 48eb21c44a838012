"""SQL projections: handlers with a SQLAlchemy Connection, for one event or for a run of events of one type.

Their statements run in the batch's transaction, which commits them together with the checkpoints. If several streams
change one row, statements must be correct under READ COMMITTED: `set total = total + :x`, not a value that was read
earlier without a lock.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from sqlalchemy import Table

from eventkit.domain.catalog import Catalog
from eventkit.domain.functions import is_asynchronous
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.define.projection import F, Projection
from eventkit.projection.dispatch import RAISED, Function, Handler, Step, raised_by
from eventkit.projection.handler_checks import check_awaitable, check_function, check_ran, takes_envelope
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import Workspace
from eventkit.storage.projections import TableName


class SqlProjection(Projection):
    """A projection whose handlers run SQL statements.

    board = SqlProjection("board", flights, tables=[departures])

    @board.on(Departed)
    def departed(connection: Connection, event: Departed) -> None:
        connection.execute(update(departures).where(...).values(...))
    """

    kind = "SQL projection"
    needs_sqlalchemy = True

    def __init__(  # noqa: PLR0913 the arguments of all projections, and tables
        self,
        name: str,
        catalog: Catalog,
        *,
        tables: Sequence[Table | str] = (),
        version: int = 1,
        categories: Sequence[str] = (),
        retry: Retry | None = None,
        timeout: float | None = None,
        concurrency: int = Projection.concurrency,
    ) -> None:
        """Declare a projection; `tables` are all tables that its handlers write, which a rebuild needs.

        Name the tables as the handlers' statements do. `retry` and `timeout` are defaults for handlers without their
        own. The timeout is in seconds: between two statements, or in all for an `async def`. If a handler is `async
        def`, `concurrency` is the number of concurrent transactions in one process, each with its own connection and
        streams.
        """
        super().__init__(name, catalog, version=version, categories=categories)
        self.declare(retry, timeout)
        self.declare_concurrency(concurrency)
        self.tables = tuple(TableName.of(table) for table in tables)

    def on(self, cls: type, *, retry: Retry | None = None, timeout: float | None = None) -> Callable[[F], F]:
        """Register the handler of an event class: (connection, event), or (connection, event, envelope).

        An `async def` is called with SQLAlchemy's AsyncConnection.
        """
        self.handlers.check_type(cls)
        policy = self.policy(cls, retry, timeout)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=2, projection=self.name, asynchronous=True)
            check_awaitable(function, projection=self.name)
            call = (_each_async if is_asynchronous(function) else _each)(function, enveloped=enveloped)
            self.handlers.add(cls, call, takes_envelope=enveloped, user=function, policy=policy)
            return function

        return register

    def on_batch(self, cls: type, *, retry: Retry | None = None, timeout: float | None = None) -> Callable[[F], F]:
        """Register a handler for runs of events of a class: (connection, envelopes), in order for each stream.

        An `async def` is called with SQLAlchemy's AsyncConnection.
        """
        self.handlers.check_type(cls)
        policy = self.policy(cls, retry, timeout)

        def register(function: F) -> F:
            more = "2, the connection and the envelopes"
            check_function(function, (2,), projection=self.name, more=more, asynchronous=True)
            check_awaitable(function, projection=self.name)
            call = _run_async if is_asynchronous(function) else _run
            self.handlers.add(cls, call(function), takes_envelope=True, user=function, policy=policy)
            return function

        return register

    def apply(self, workspace: Workspace, steps: Sequence[Step]) -> None:
        """Call the handlers, a run of one type at a time; a rebuild's search path leads to its shadow tables."""
        for handler, run in groupby(steps, key=lambda step: step.handler):
            if handler.asynchronous:
                _await(workspace, handler, list(run))
            else:
                handler.function(workspace.sqlalchemy, list(run))


def _each(function: Function, *, enveloped: bool) -> Function:
    def call(connection: object, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                result = (
                    function(connection, step.event, step.envelope) if enveloped else function(connection, step.event)
                )
                if result is not None:
                    check_ran(step, result)
            except RAISED as error:
                raised_by(step, error)
                raise

    return call


def _await(workspace: Workspace, handler: Handler, steps: Sequence[Step]) -> None:
    """Call an `async def` handler for each event, or once for the run."""
    calls: list[AsyncCall] = handler.function(workspace.async_connection, steps)  # type: ignore[assignment]
    for call, result in zip(calls, workspace.call_async(calls), strict=True):
        if result is not None:
            check_ran(call.step, result)


def _each_async(function: Function, *, enveloped: bool) -> Function:
    def calls(connection: object, steps: Sequence[Step]) -> list[AsyncCall]:
        if enveloped:
            return [AsyncCall(step, function, (connection, step.event, step.envelope)) for step in steps]
        return [AsyncCall(step, function, (connection, step.event)) for step in steps]

    return calls


def _run_async(function: Function) -> Function:
    def calls(connection: object, steps: Sequence[Step]) -> list[AsyncCall]:
        return [AsyncCall(steps[0], function, (connection, [step.envelope for step in steps]))]

    return calls


def _run(function: Function) -> Function:
    def call(connection: object, steps: Sequence[Step]) -> None:
        try:
            check_ran(steps[0], function(connection, [step.envelope for step in steps]))
        except RAISED as error:
            raised_by(steps[0], error)
            raise

    return call
