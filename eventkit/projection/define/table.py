"""Table projections: each event changes one row, whose key depends only on the event.

The rows of a batch are locked and loaded together, changed in memory by the handlers, and written back: changed rows in
one statement, new rows in another.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

import psycopg
from sqlalchemy import Table

from eventkit.domain.catalog import Catalog
from eventkit.domain.functions import positional
from eventkit.errors import ProjectionError
from eventkit.projection.define.fold import Call, RowFold
from eventkit.projection.define.projection import F, Projection
from eventkit.projection.define.rows import RowTable
from eventkit.projection.dispatch import RAISED, Function, Key, Step, raised_by
from eventkit.projection.handler_checks import check_function, takes_envelope
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import Workspace
from eventkit.storage.projections import TableName, find_tables

_CHECKED = {type(None), tuple}  # the types of keys that may lack a value
_WITH_ENVELOPE = 2  # parameters of a key function


class TableProjection(Projection):
    """A projection into one table, whose rows are computed from the events with their key.

        totals = TableProjection("customer_totals", shop, table=customer_totals, key="customer")

        @totals.on(OrderPlaced)
        def placed(row: CustomerTotals, event: OrderPlaced) -> None:
            row.orders += 1

    A handler takes the row (loaded, or new with the table's defaults), the event and optionally the envelope. It
    returns DELETE to delete the row. A handler must not depend on anything else, nor change anything else. New rows are
    fastest if every column has a constant Python default (`default=0`).
    """

    kind = "table projection"
    awaits = False  # whether `async def` handlers are allowed

    def __init__(  # noqa: PLR0913 the arguments of all projections, and a table
        self,
        name: str,
        catalog: Catalog,
        *,
        table: Table | type[Any],
        key: str | Sequence[str],
        version: int = 1,
        categories: Sequence[str] = (),
        retry: Retry | None = None,
    ) -> None:
        """Declare a projection; `retry` is the policy of handlers without their own.

        `table` is a Table, or a class mapped to one; rows then have its methods and properties. `key` is a column or
        several, which must be the table's primary key or a unique constraint. Raise ProjectionError for a table whose
        rows a projection cannot write.
        """
        super().__init__(name, catalog, version=version, categories=categories)
        self.declare(retry)
        self.rows = RowTable(table, (key,) if isinstance(key, str) else key)
        self.tables = (TableName(self.rows.table.schema, self.rows.table.name),)

    def on(self, cls: type, *, key: Callable[..., Any] | None = None, retry: Retry | None = None) -> Callable[[F], F]:
        """Register the handler of an event class.

        `key` is a function of the event, or of event and envelope, that returns the row's key. By default the key is
        the event's field with the name of the key column.
        """
        self.handlers.check_type(cls)
        policy = self.policy(cls, retry)
        if key is not None:
            check_function(key, (1, 2), projection=self.name, more="1 for the event, or 2 with the envelope")

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=2, projection=self.name, asynchronous=self.awaits)
            wide_key = key is not None and positional(key) == _WITH_ENVELOPE
            self.handlers.add(
                cls,
                _uniform(function, enveloped=enveloped),
                takes_envelope=enveloped or wide_key,
                key=self._key(cls, key),
                user=function,
                policy=policy,
            )
            return function

        return register

    def check(self, connection: psycopg.Connection[Any]) -> None:
        """Raise ProjectionError if the table does not exist; clear the cached defaults of its new rows."""
        self.rows.clear_defaults()
        if not find_tables(connection, self.tables):
            table = self.rows.table.fullname
            raise ProjectionError(
                f"table {table!r} of projection {self.name!r} does not exist in this database: "
                "create it, its migrations are yours"
            )

    def apply(self, workspace: Workspace, steps: Sequence[Step]) -> None:
        """Lock and load the rows, call the handlers, and write the rows."""
        if steps:
            self.fold(workspace, steps)

    def fold(self, workspace: Workspace, steps: Sequence[Step], call: Call | None = None) -> None:
        """Apply events, through `call` if it is given; if it is called twice for a step, the second call counts."""
        RowFold(self.rows, workspace.connection, workspace.shadow, call).fold(self._keys(steps), steps)

    def _keys(self, steps: Sequence[Step]) -> Sequence[Any]:
        """Return the key of each step; if one raises, or needs a closer look, they are made one by one."""
        with suppress(*RAISED):
            keys = [step.handler.key(step) for step in steps]
            if _CHECKED.isdisjoint(map(type, keys)):
                return keys
        return [self._key_of(step) for step in steps]

    def _key_of(self, step: Step) -> Any:  # noqa: ANN401 the user's key
        try:
            key = step.handler.key(step)
        except RAISED as error:
            raised_by(step, error)
            raise
        if key is None or (type(key) is tuple and None in key):
            raise ProjectionError(
                f"{step.handler.type} has the key {key!r} in projection {self.name!r}: "
                f"a row needs a value for {', '.join(self.rows.key)}"
            )
        return key

    def _key(self, cls: type, key: Callable[..., Any] | None) -> Key:
        if key is not None:
            return _key_of_step(key)
        missing = [name for name in self.rows.key if name not in _fields(cls)]
        if missing:
            raise ProjectionError(
                f"{cls.__name__} has no field {missing[0]!r}, the key of projection {self.name!r}: "
                "give `on` a `key=` that makes it of the event"
            )
        return attrgetter(*(f"event.{name}" for name in self.rows.key))


def _fields(cls: type) -> set[str]:
    known = ("__dataclass_fields__", "__struct_fields__", "model_fields")  # not annotations, which may not resolve yet
    return {name for attribute in known for name in getattr(cls, attribute, ())}


def _uniform(function: Function, *, enveloped: bool) -> Function:
    """Return a handler that takes row, event and envelope."""
    return function if enveloped else lambda row, event, _: function(row, event)


def _key_of_step(key: Callable[..., Any]) -> Key:
    if positional(key) == _WITH_ENVELOPE:
        return lambda step: key(step.event, step.envelope)
    return lambda step: key(step.event)
