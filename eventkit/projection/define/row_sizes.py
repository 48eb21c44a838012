"""Measures the rows of one table, so that no batch holds more of them than fit into memory.

Nothing knows the size of rows before they are read, and a small event may make a large row. So a fold begins with a few
rows, and takes more as long as they are small.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa

from eventkit.projection.define.column_types import DIALECT

MAX_BYTES: Final = 8_000_000  # of the rows that are taken together; a single row may exceed it
_FIRST_ROOM, _MAX_ROOM = 64, 1_000_000  # rows
_SHORT = 256  # characters
_SAMPLE = 8  # of so many values of other types, one is measured
_TEXTS = (str, bytes)
_FIXED = (
    sa.Integer, sa.Numeric, sa.Float, sa.Boolean, sa.Date, sa.DateTime, sa.Time, sa.Interval, sa.Uuid, sa.Enum
)  # fmt: skip


class RowSizes:
    """The room of one table's folds; `room` is the number of rows to take together."""

    def __init__(self, columns: Sequence[tuple[str, sa.Column[Any]]]) -> None:
        """Measure the columns, each by its attribute, whose values have no fixed or small size."""
        names = [(name, _is_text(column)) for name, column in columns if not _is_small(column)]
        self._texts = [attrgetter(name) for name, is_text in names if is_text]
        self._others = [attrgetter(name) for name, is_text in names if not is_text]
        self.room = _FIRST_ROOM if names else _MAX_ROOM

    def measure(self, rows: Sequence[Any]) -> int:
        """Return the approximate bytes of rows, and adapt the room to them; deleted rows, None, count as empty."""
        if not (self._texts or self._others):
            return 0
        kept = [row for row in rows if row is not None]
        size = 0
        for column in self._texts:
            size += _lengths(list(map(column, kept)))
        for column in self._others:
            size += _SAMPLE * sum(map(_length, map(column, kept[::_SAMPLE])))
        average = size // max(1, len(kept))
        self.room = max(1, min(2 * self.room, MAX_BYTES // max(1, average), _MAX_ROOM))
        return size


def _lengths(values: Sequence[Any]) -> int:
    try:
        return sum(map(len, values))
    except TypeError:  # None among them, for instance
        return sum(map(_length, values))


def _length(value: Any) -> int:  # noqa: ANN401 a value of the user's column
    if value is None:
        return 0
    return len(value) if isinstance(value, _TEXTS) else len(str(value))


def _is_small(column: sa.Column[Any]) -> bool:
    kind = column.type.dialect_impl(DIALECT)
    return isinstance(kind, _FIXED) or (isinstance(kind, sa.String) and 0 < (kind.length or 0) <= _SHORT)


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type.dialect_impl(DIALECT), sa.String | sa.LargeBinary)
