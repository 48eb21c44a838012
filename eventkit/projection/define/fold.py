"""Applies a batch to the rows of a table: locks and reads the rows, calls the handlers in order, writes the rows.

If another process inserts a row after it was found missing, the row's events are applied again, to that row. Called by
table projections.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from eventkit.projection.define.rows import DELETE, RowTable, Taken
from eventkit.projection.dispatch import RAISED, Step, check_ran, raised_by

Call = Callable[[Any, Step], object]
"""Calls a step's handler with its row."""


class RowFold:
    """Applies one batch in the open transaction."""

    def __init__(self, rows: RowTable, connection: psycopg.Connection[Any], shadow: str | None, call: Call) -> None:
        self._rows = rows
        self._connection = connection
        self._shadow = shadow
        self._call = call

    def fold(self, keys: Sequence[Any], steps: Sequence[Step]) -> None:
        """Apply each step to the row of its key."""
        conflicts = self._into(self._taken(keys), zip(keys, steps, strict=True))
        if conflicts:  # inserted by another process: apply the events again, to its rows
            again = [(key, step) for key, step in zip(keys, steps, strict=True) if key in conflicts]
            self._into(self._existing(list(conflicts)), again)

    def _into(self, taken: Taken, keyed: Iterable[tuple[Any, Step]]) -> set[Any]:
        rows, call = taken.rows, self._call
        for key, step in keyed:
            row = rows[key]
            if row is None:  # deleted by an earlier event: start from the defaults
                row = rows[key] = self._recreated(key, taken)
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

    def _recreated(self, key: Any, taken: Taken) -> Any:  # noqa: ANN401 the user's
        if key in taken.new:
            return self._rows.fresh(self._shadow, key)
        self._rows.write(self._connection, self._shadow, Taken({key: None}, set()))
        return self._existing([key]).rows[key]

    def _taken(self, keys: Sequence[Any]) -> Taken:
        return self._rows.take(self._connection, self._shadow, list(dict.fromkeys(keys)))

    def _existing(self, keys: Sequence[Any]) -> Taken:
        self._rows.lock(self._connection, self._shadow, keys)
        return Taken(self._rows.load(self._connection, self._shadow, keys), set())
