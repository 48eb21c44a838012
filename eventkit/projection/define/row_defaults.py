"""The default values of a new row, if they are known without creating the row in the database.

They are known if the key is text, a number or a UUID, every other column has a constant Python default or none, and the
database fills no column by a default or a trigger. Then a new row is inserted once, with its final values. Otherwise it
is created first and read back.
"""

import datetime as dt
import enum
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql

from eventkit.projection.define.column_types import is_padded, stored_type_of
from eventkit.projection.define.columns import Columns

# Exactly these types: subclasses may compare differently (citext) or return other values (char(n)).
_KEYS = {
    sa.String, sa.Text, sa.VARCHAR, sa.TEXT, sa.Unicode, sa.UnicodeText,
    sa.Integer, sa.BigInteger, sa.SmallInteger, sa.INTEGER, sa.BIGINT, sa.SMALLINT, sa.Uuid, sa.UUID,
}  # fmt: skip
_UNCHANGEABLE = (
    str, int, float, Decimal, bytes, UUID, enum.Enum, dt.date, dt.time, dt.timedelta, type(None)
)  # fmt: skip
_FILLED = """
select exists (select from pg_catalog.pg_attribute
                where attrelid = to_regclass(%(table)s) and attname = any(%(columns)s) and atthasdef)
    or exists (select from pg_catalog.pg_trigger where tgrelid = to_regclass(%(table)s) and not tgisinternal)
"""


class RowDefaults:
    """The default values of new rows of one table."""

    def __init__(self, columns: Columns, *, key: Sequence[sa.Column[Any]], values: Sequence[sa.Column[Any]]) -> None:
        self._columns = columns
        self._key = key
        self._values = values
        self._constant = all(_compares_plainly(column) for column in key) and all(map(_is_constant, values))

    def values(self, connection: psycopg.Connection[Any], table: sql.Composed) -> tuple[Any, ...] | None:
        """Return the defaults of all columns but the key, as the database returns them; None if it computes them."""
        if not self._constant or self._filled(connection, table):
            return None
        types = sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(stored_type_of(column))) for column in self._values)
        defaults = [self._columns.given(column, _default(column)) for column in self._values]
        row = connection.execute(sql.SQL("select {}").format(types), defaults).fetchone() if defaults else ()
        keys = (None,) * len(self._key)
        found = tuple(next(iter(self._columns.read([(*keys, *(row or ()))]))))[len(keys) :]
        return found if all(isinstance(value, _UNCHANGEABLE) for value in found) else None

    def fit(self, key_columns: Sequence[Sequence[Any]]) -> bool:
        """Whether the database returns these keys unchanged."""
        return all(
            issubclass(kind, column.type.python_type) and kind is not bool
            for column, keys in zip(self._key, key_columns, strict=True)
            for kind in set(map(type, keys))
        )

    def _filled(self, connection: psycopg.Connection[Any], table: sql.Composed) -> bool:
        bare = [column.name for column in self._values if column.default is None]
        params = {"table": table.as_string(connection), "columns": bare}
        return connection.execute(_FILLED, params).fetchone() != (False,)


def _compares_plainly(column: sa.Column[Any]) -> bool:
    kind: Any = column.type
    return type(kind) in _KEYS and getattr(kind, "as_uuid", True) and getattr(kind, "collation", None) is None


def _is_constant(column: sa.Column[Any]) -> bool:
    return (column.default is None or bool(column.default.is_scalar)) and not is_padded(column)


def _default(column: sa.Column[Any]) -> Any:  # noqa: ANN401 a value of the user's column
    default: Any = column.default
    return None if default is None else default.arg
