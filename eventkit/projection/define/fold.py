"""Applies a batch to the rows of a table: locks and reads the rows, calls the handlers in order, writes the rows.

A row depends on the events of its key alone. So rows are taken and written in several parts where they are large: a
batch of small events may make thousands of large rows. If another process inserts a row after it was found missing, the
row's events are applied again, to that row. Called by table projections.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from eventkit.projection.define.row_sizes import MAX_BYTES
from eventkit.projection.define.rows import DELETE, RowTable, Taken
from eventkit.projection.dispatch import RAISED, Step, raised_by
from eventkit.projection.handler_checks import check_ran

Call = Callable[[Any, Step], object]
"""Calls a step's handler with its row, in its own way."""

ByKey = Mapping[Any, Sequence[Step]]
_MEASURED = 64  # rows between two looks at the size of all rows


class RowFold:
    """Applies one batch in the open transaction."""

    def __init__(
        self, rows: RowTable, connection: psycopg.Connection[Any], shadow: str | None, call: Call | None = None
    ) -> None:
        """Without `call`, a handler takes the row, the event and the envelope."""
        self._rows = rows
        self._connection = connection
        self._shadow = shadow
        self._call = call

    def fold(self, keys: Sequence[Any], steps: Sequence[Step]) -> None:
        """Apply each step to the row of its key: the steps of a key in order, one key after another."""
        by_key = _by_key(keys, steps)
        for part in self._parts(list(by_key)):
            conflicts = self._into(self._rows.take(self._connection, self._shadow, part), part, by_key)
            if conflicts:  # inserted by another process: apply the events again, to its rows
                self._into(self._existing(conflicts), conflicts, by_key)

    def _parts(self, keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Yield keys whose rows fit into memory together; several parts are locked in order of key."""
        sizes, start = self._rows.sizes, 0
        if len(keys) > sizes.room:
            with suppress(TypeError):  # keys without an order: a deadlock with another process is retried
                keys = sorted(keys)
        while start < len(keys):
            end = start + sizes.room  # which changes with the rows that are seen
            yield keys[start:end]
            start = end

    def _into(self, taken: Taken, keys: Sequence[Any], by_key: ByKey) -> list[Any]:
        """Apply the events of keys to their rows and write these; return the keys that another process has inserted."""
        rows, sizes = taken.rows, self._rows.sizes
        conflicts: set[Any] = set()
        first, size = 0, 0  # the place of the first row that is not written yet, and the bytes of those
        for begin in range(0, len(keys), _MEASURED):
            part = keys[begin : begin + _MEASURED]
            for key in part:
                rows[key] = self._folded(rows[key], by_key[key], key, taken)
            size += sizes.measure([rows[key] for key in part])
            end = begin + len(part)
            if size > MAX_BYTES or end == len(keys):
                conflicts |= self._write(taken, keys[first:end])
                first, size = end, 0
        return [key for key in keys if key in conflicts] if conflicts else []

    def _folded(self, row: Any, steps: Sequence[Step], key: Any, taken: Taken) -> Any:  # noqa: ANN401 the user's
        """Call the handlers of a row's events in order; return the row, or None if it is deleted."""
        call = self._call
        for step in steps:
            if row is None:  # deleted by an earlier event: start from the defaults
                row = self._recreated(key, taken)
            try:
                result = call(row, step) if call else step.handler.function(row, step.event, step.envelope)
                if result is not None and result is not DELETE:
                    check_ran(step, result)
            except RAISED as error:
                raised_by(step, error)
                raise
            if result is DELETE:
                row = None
        return row

    def _write(self, taken: Taken, keys: Sequence[Any]) -> set[Any]:
        """Write the rows of some keys, and free them."""
        part = taken
        if len(keys) < len(taken.rows):
            part = Taken({key: taken.rows.pop(key) for key in keys}, taken.new.intersection(keys))
        return self._rows.write(self._connection, self._shadow, part)

    def _recreated(self, key: Any, taken: Taken) -> Any:  # noqa: ANN401 the user's
        if key in taken.new:
            return self._rows.fresh(self._shadow, key)
        self._rows.write(self._connection, self._shadow, Taken({key: None}, set()))
        return self._existing([key]).rows[key]

    def _existing(self, keys: Sequence[Any]) -> Taken:
        self._rows.lock(self._connection, self._shadow, keys)
        return Taken(self._rows.load(self._connection, self._shadow, keys), set())


def _by_key(keys: Sequence[Any], steps: Sequence[Step]) -> ByKey:
    found: dict[Any, list[Step]] = {}
    for key, step in zip(keys, steps, strict=True):
        if (known := found.get(key)) is None:
            found[key] = [step]
        else:
            known.append(step)
    return found
