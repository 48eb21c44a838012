"""A batch's fold into the rows of a table: take them, call the handlers in order, write what they made of them.

A row that another process has created since it was not found is folded again, on what is there. Called by table
projections.
"""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from eventkit.projection.define.rows import DELETE, RowTable, Taken
from eventkit.projection.dispatch import RAISED, Step, check_ran, raised_by

Call = Callable[[Any, Step], object]
"""Calls a step's handler with its row."""


class RowFold:
    """One batch, in the transaction that is open."""

    def __init__(self, rows: RowTable, connection: psycopg.Connection[Any], shadow: str | None, call: Call) -> None:
        self._rows = rows
        self._connection = connection
        self._shadow = shadow
        self._call = call

    def fold(self, keyed: Sequence[tuple[Any, Step]]) -> None:
        """Fold all steps, each into the row of its key."""
        theirs = self._into(self._taken([key for key, _ in keyed]), keyed)
        if theirs:  # created by another process: the folds from the defaults are void
            self._into(self._there(list(theirs)), [(key, step) for key, step in keyed if key in theirs])

    def _into(self, taken: Taken, keyed: Sequence[tuple[Any, Step]]) -> set[Any]:
        rows, call = taken.rows, self._call
        for key, step in keyed:
            row = rows[key]
            if row is None:  # deleted by an event before: start again from the defaults
                row = rows[key] = self._again(key, taken)
            try:
                result = call(row, step)
                if result is not None and result is not DELETE:
                    check_ran(step, result)
            except RAISED as error:
                raised_by(step, error)
                raise
            if result is DELETE:
                rows[key] = None
        return self._rows.write(self._connection, self._shadow, taken)

    def _again(self, key: Any, taken: Taken) -> Any:  # noqa: ANN401 the user's
        if key in taken.new:
            return self._rows.fresh(self._shadow, key)
        self._rows.write(self._connection, self._shadow, Taken({key: None}, set()))
        return self._there([key]).rows[key]

    def _taken(self, keys: Sequence[Any]) -> Taken:
        return self._rows.take(self._connection, self._shadow, list(dict.fromkeys(keys)))

    def _there(self, keys: Sequence[Any]) -> Taken:
        self._rows.lock(self._connection, self._shadow, keys)
        return Taken(self._rows.load(self._connection, self._shadow, keys), set())
