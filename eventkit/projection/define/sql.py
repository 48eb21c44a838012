"""SQL projections: functions over a SQLAlchemy Connection, for one event or for a run of events of one type.

Their statements run in the batch's transaction, which commits them together with the checkpoints. Where several streams
change one row, the statements must be right under READ COMMITTED: `set total = total + :x`, not a value that was read
before without a lock.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from sqlalchemy import Table

from eventkit.domain.catalog.catalog import Catalog
from eventkit.projection.define.dispatch import Function, Step, check_function, check_ran, raised_by, takes_envelope
from eventkit.projection.define.projection import F, Projection
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.projections.live_tables import TableName


class SqlProjection(Projection):
    """Statements for each event.

    board = SqlProjection("board", flights, tables=[departures])

    @board.on(Departed)
    def departed(connection: Connection, event: Departed) -> None:
        connection.execute(update(departures).where(...).values(...))
    """

    kind = "SQL projection"
    needs_sqlalchemy = True

    def __init__(
        self,
        name: str,
        catalog: Catalog,
        *,
        tables: Sequence[Table | str] = (),
        version: int = 1,
        categories: Sequence[str] = (),
    ) -> None:
        """Declare it; `tables` are all that its handlers write, named as they name them: a rebuild needs them."""
        super().__init__(name, catalog, version=version, categories=categories)
        self.tables = tuple(TableName.of(table) for table in tables)

    def on(self, cls: type) -> Callable[[F], F]:
        """Register the handler of an event class: (connection, event), or (connection, event, envelope)."""
        self.handlers.check_type(cls)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=2, projection=self.name)
            self.handlers.add(cls, _each(function, enveloped=enveloped), takes_envelope=enveloped, user=function)
            return function

        return register

    def on_batch(self, cls: type) -> Callable[[F], F]:
        """Register a handler for runs of events of a class: (connection, envelopes); each stream's come in order."""
        self.handlers.check_type(cls)

        def register(function: F) -> F:
            check_function(function, (2,), projection=self.name, more="2, the connection and the envelopes")
            self.handlers.add(cls, _run(function), takes_envelope=True, user=function)
            return function

        return register

    def apply(self, workspace: OwnTransaction, shadow: str | None, steps: Sequence[Step]) -> None:
        """Call the handlers, a run of one type at a time; the session's search path leads their names to a shadow."""
        del shadow
        for handler, run in groupby(steps, key=lambda step: step.handler):
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
            except Exception as error:
                raised_by(step, error)
                raise

    return call


def _run(function: Function) -> Function:
    def call(connection: object, steps: Sequence[Step]) -> None:
        try:
            check_ran(steps[0], function(connection, [step.envelope for step in steps]))
        except Exception as error:
            raised_by(steps[0], error)
            raise

    return call
