"""Converts values of columns for PostgreSQL and back, as SQLAlchemy's types define.

Many rows are sent as one array per column, a single row as plain values. Used for the rows of table projections.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.adapt import PyFormat
from sqlalchemy import Column, Float
from sqlalchemy.dialects.postgresql import HSTORE

from eventkit.projection.define.column_types import DIALECT, is_array, is_bytes
from eventkit.storage.db import bytes_array, bytes_text, plain_array, text_array

_FLOAT8, _NUMERIC = 701, 1700
_BYTES = {bytes, bytearray, memoryview}


class Columns:
    """Some columns of one table, in a fixed order."""

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        """Get SQLAlchemy's converters of each column."""
        self.columns = columns
        self._out = {column: _processor(column, "bind") for column in columns}
        self._in = [_processor(column, "result") for column in columns]
        self._arrays = {column for column in columns if is_array(column)}

    def arrays(
        self, connection: psycopg.Connection[Any], columns: Iterable[Column[Any]], values: Iterable[Sequence[Any]]
    ) -> list[Any]:
        """Return an array parameter for each of `columns`, a subset of these columns; then their nulls, as arrays."""
        stored = [self._stored(column, given) for column, given in zip(columns, values, strict=True)]
        arrays = [self._array(connection, column, _filled(each)) for column, each in zip(columns, stored, strict=True)]
        return [*arrays, *map(_nulls, stored)]

    def values(
        self, connection: psycopg.Connection[Any], columns: Iterable[Column[Any]], values: Iterable[Sequence[Any]]
    ) -> list[Any]:
        """Return a parameter for each of `columns` for a single row: the first of its values."""
        return [self._value(connection, column, given[0]) for column, given in zip(columns, values, strict=True)]

    def given(self, column: Column[Any], value: Any) -> Any:  # noqa: ANN401 a value of the user's column
        """Return a value converted for the driver."""
        process = self._out[column]
        return value if value is None or process is None else process(value)

    def read(self, rows: Iterable[Sequence[Any]]) -> Iterable[Sequence[Any]]:
        """Return rows of all these columns, converted for the service's code."""
        if not any(self._in):
            return rows
        return ([p(value) if p else value for p, value in zip(self._in, row, strict=True)] for row in rows)

    def _array(
        self, connection: psycopg.Connection[Any], column: Column[Any], values: Sequence[Any]
    ) -> list[Any] | str:
        types = set(map(type, values))
        if all(issubclass(kind, str) for kind in types):
            return text_array(values)
        if types == {int}:
            return plain_array(values)
        if types <= _BYTES and is_bytes(column):
            return bytes_array(values)
        if len(types) > 1:  # the driver accepts only arrays of one type
            values = [_as_text(value) for value in values]
        if column in self._arrays:  # unnest would flatten an array of arrays
            return text_array(value if isinstance(value, str) else _literal(connection, value) for value in values)
        return values if isinstance(values, list) else list(values)

    def _stored(self, column: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
        process = self._out[column]
        if process is None:
            return values
        return [value if value is None and not _stores_none(column) else process(value) for value in values]

    def _value(self, connection: psycopg.Connection[Any], column: Column[Any], value: Any) -> Any:  # noqa: ANN401 see given
        process = self._out[column]
        if process is not None and (value is not None or _stores_none(column)):
            value = process(value)
        if type(value) is int:  # as text: psycopg chooses the type by size, and would prepare a statement for each type
            return str(value)
        if type(value) in _BYTES and is_bytes(column):
            return bytes_text(value)
        if column in self._arrays and value is not None and not isinstance(value, str):
            return _literal(connection, value)
        return value


def _filled(values: Sequence[Any]) -> Sequence[Any]:
    """Put another of the values in the place of None; no values where all are None, for which unnest returns null."""
    if type(None) not in set(map(type, values)):
        return values
    other = next((value for value in values if value is not None), None)
    return [] if other is None else [other if value is None else value for value in values]


def _nulls(values: Sequence[Any]) -> str:
    """Write which values are None; an empty array where none is."""
    has_none = type(None) in set(map(type, values))  # a value's own `==` may return anything
    return plain_array("f" if value is not None else "t" for value in values) if has_none else "{}"


def _processor(column: Column[Any], way: str) -> Callable[[Any], Any] | None:
    kind = column.type.dialect_impl(DIALECT)
    oid = _FLOAT8 if isinstance(kind, Float) else _NUMERIC  # the column's type OID; only number types use it
    if way == "bind":
        return kind.bind_processor(DIALECT)
    process = kind.result_processor(DIALECT, oid)
    if process is not None and isinstance(kind, HSTORE):  # a caller's connection may have an adapter of its own
        return lambda value: value if isinstance(value, dict) else process(value)
    return process


def _stores_none(column: Column[Any]) -> bool:
    """Whether None is stored as JSON's null, in a column that is NOT NULL."""
    return column.type.should_evaluate_none and not column.nullable


def _as_text(value: Any) -> str:  # noqa: ANN401 a value of the user's column
    return str(int(value)) if isinstance(value, bool) else str(value)


def _literal(connection: psycopg.Connection[Any], value: Any) -> str:  # noqa: ANN401 a value of the user's column
    dumper = connection.adapters.get_dumper(list, PyFormat.TEXT)(list, connection)
    dumped = dumper.get_key(value, PyFormat.TEXT)
    if not isinstance(dumped, type):
        dumper = dumper.upgrade(value, PyFormat.TEXT)
    return bytes(dumper.dump(list(value)) or b"").decode()
