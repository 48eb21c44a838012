"""Checks, at its declaration, that a projection can write the rows of its table.

Values that SQLAlchemy computes at each of its own INSERTs or UPDATEs are refused. A projection writes many rows in one
statement, with constants, with results of functions without arguments, and with defaults of the database.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import schema

from eventkit.domain.functions import name_of_class
from eventkit.errors import ProjectionError
from eventkit.projection.define.column_types import DIALECT
from eventkit.projection.define.row_class import RowSource

Columns = Mapping[str, sa.Column[Any]]


def check_columns(source: RowSource, named: Columns, *, key: Sequence[str], values: Sequence[sa.Column[Any]]) -> None:
    """Raise ProjectionError unless the key is unique and new rows have a value for each column."""
    table = source.table.fullname
    _check_key(source.table, named, key)
    for column in {*(named[name] for name in key), *values}:
        _check_type(f"column {column.name!r} of table {table!r}", column)
    for column in values:
        _check_generated(f"column {column.name!r} of table {table!r}", column)
        if not column.nullable and column.default is None and column.server_default is None:
            raise ProjectionError(
                f"column {column.name!r} of table {table!r} is NOT NULL and has no default: a new row needs one"
            )


def _check_type(place: str, column: sa.Column[Any]) -> None:
    kind = column.type.dialect_impl(DIALECT)
    if kind.bind_expression(sa.bindparam("value")) is None and kind.column_expression(sa.column("value")) is None:
        return
    raise ProjectionError(
        f"{place} has the type {name_of_class(type(column.type))}, which wraps its values in an SQL expression, and a "
        "projection's statement has values alone: convert them in Python (process_bind_param, process_result_value)"
    )


def _check_key(table: sa.Table, named: Columns, key: Sequence[str]) -> None:
    missing = [name for name in key if name not in named]
    if missing:
        raise ProjectionError(
            f"table {table.fullname!r} has no column {missing[0]!r}, which is to be the key; it has {', '.join(named)}"
        )
    if not any({named[name] for name in key} == unique for unique in _uniques(table)):
        raise ProjectionError(
            f"key {', '.join(key)} of table {table.fullname!r} needs to be its primary key, or a unique "
            "constraint, not a deferrable one, not a partial index and not one of expressions"
        )


def _uniques(table: sa.Table) -> list[set[sa.Column[Any]]]:
    """Return the columns of each constraint and index by which an upsert can find a row."""
    kinds = sa.PrimaryKeyConstraint, sa.UniqueConstraint
    constraints = [each for each in table.constraints if isinstance(each, kinds) and not each.deferrable]
    indexes = [index for index in table.indexes if index.unique and _is_of_columns(index) and not _is_partial(index)]
    return [set(each.columns) for each in (*constraints, *indexes)]


def _is_of_columns(index: sa.Index) -> bool:
    """Whether an index has columns alone, in any order, and no expressions of them."""
    return all(isinstance(_unordered(each), sa.Column) for each in index.expressions)


def _unordered(expression: Any) -> Any:  # noqa: ANN401 SQLAlchemy's
    """Return an expression without `desc()`, `nulls_last()` and the like."""
    while getattr(expression, "modifier", None) is not None:
        expression = expression.element
    return expression


def _is_partial(index: sa.Index) -> bool:
    return index.dialect_options["postgresql"].get("where") is not None


def _check_generated(place: str, column: sa.Column[Any]) -> None:
    default: Any = column.default
    if column.onupdate is not None:
        raise ProjectionError(
            f"{place} has onupdate=, which SQLAlchemy applies only in its own statements: set it in the handlers"
        )
    if default is None:
        return
    if default.is_sequence and column.server_default is None:
        raise ProjectionError(
            f"{place} takes its values from a sequence: let the database do it, server_default=sequence.next_value()"
        )
    if default.is_clause_element:
        raise ProjectionError(
            f"{place} has a default that is an SQL expression: let the database do it, server_default=, or set the "
            "column in the handlers, from the event or envelope.recorded_at"
        )
    if default.is_callable and not _takes_nothing(default.arg):
        raise ProjectionError(
            f"{place} has a default that needs the statement's context, and a projection's statement has none: set "
            "the column in the handlers"
        )


def _takes_nothing(default: Any) -> bool:  # noqa: ANN401 a function
    """Whether SQLAlchemy has wrapped a function that takes no context."""
    code = getattr(default, "__code__", None)
    return code is not None and code.co_filename == schema.__file__
