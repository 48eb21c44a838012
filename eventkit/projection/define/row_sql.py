"""The SQL statements for a table projection's rows: one array per column for many rows, plain values for one row.

PostgreSQL plans a statement with `unnest(array)` at each execution, which takes longer than the execution for one row.
The statements are built from the columns of the service's table.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import sql
from sqlalchemy import Column

from eventkit.projection.define.column_types import identifier, is_array, is_text, type_of

_LOCK = """insert into {t} as t ({new}) select {names} from {given} order by {order}
on conflict ({key}) do update set {first} = excluded.{first} where false"""
_LOAD = "select k.{place}, {all} from {given} join {t} t on {match}"
# In READ COMMITTED a row locked by another transaction is returned as that committed it, or not if it was deleted.
_TAKE = _LOAD + " order by {order} for update of t"
_DELETE = "delete from {t} t using {given} where {match}"
_WRITE = "update {t} t set {changes} from {given} where {match}"
_CREATE = """insert into {t} as t ({new}) select {names} from {given} order by {order}
on conflict ({key}) do nothing returning {all}"""


class RowSql(NamedTuple):
    """The statements for one table, in the driver's form."""

    lock: bytes  # create missing rows, and lock all
    load: bytes
    take: bytes  # lock and read existing rows
    delete: bytes
    write: bytes
    create: bytes  # returns the keys of inserted rows


def row_sql(
    table: sql.Composed,
    *,
    key: Sequence[Column[Any]],
    preset: Sequence[Column[Any]],
    values: Sequence[Column[Any]],
    single: bool = False,
) -> RowSql:
    """Build the statements, for a `single` row or for many.

    `key` and `values` are the columns of a row; `preset` are the columns with a Python default.
    """
    match = _joined(" and ", (sql.SQL("t.{c} = k.{c}").format(c=_name(column)) for column in key))
    order = _joined(", ", (_ordered(column) for column in key))
    loaded = [sql.SQL("t.{}").format(_name(column)) for column in (*key, *values)]
    changes = [sql.SQL("{c} = k.{c}").format(c=_name(column)) for column in values]

    def statement(text: str, columns: Sequence[Column[Any]], *, place: bool = False) -> bytes:
        given = _one_given(columns) if single else _given(columns, ordinality=place)
        composed = sql.SQL(text).format(
            t=table,
            place=_place(columns),
            given=given,
            new=_joined(", ", map(_name, columns)),
            names=_joined(", ", (sql.SQL("k.{}").format(_name(column)) for column in columns)),
            key=_joined(", ", map(_name, key)),
            first=_name(key[0]),
            order=order,
            match=match,
            all=_joined(", ", loaded if place else loaded[: len(key)]),
            changes=_joined(", ", changes),
        )
        return composed.as_string(None).encode()

    return RowSql(
        lock=statement(_LOCK, [*key, *preset]),
        load=statement(_LOAD, key, place=True),
        take=statement(_TAKE, key, place=True),
        delete=statement(_DELETE, key),
        write=statement(_WRITE, [*key, *values]),
        create=statement(_CREATE, [*key, *values]),
    )


def _given(columns: Sequence[Column[Any]], *, ordinality: bool = False) -> sql.Composed:
    """Return `(select ... from unnest(...)) k` over two array parameters a column: its values, and which are null.

    A null within an array would be a text in a session with `array_nulls = off`. Values that are arrays come as text.
    """
    kinds = [sql.SQL("text" if is_array(column) else type_of(column)) for column in columns]
    arrays = [sql.SQL("%s::{}[]").format(kind) for kind in (*kinds, *[sql.SQL("bool")] * len(columns))]
    order = sql.SQL(" with ordinality" if ordinality else "")
    places = [_place(columns)] if ordinality else []
    values, nulls = ([sql.Identifier(f"{kind}{nth}") for nth in range(len(columns))] for kind in ("v", "n"))
    given = [
        sql.SQL("case when {} then null else {}::{} end as {}").format(null, value, sql.SQL(type_of(c)), _name(c))
        for c, value, null in zip(columns, values, nulls, strict=True)
    ]
    return sql.SQL("(select {} from unnest({}){} u({})) k").format(
        _joined(", ", [*given, *places]), _joined(", ", arrays), order, _joined(", ", [*values, *nulls, *places])
    )


def _one_given(columns: Sequence[Column[Any]]) -> sql.Composed:
    """Return `(select ...) k(...)` over one parameter a column, and the row's number."""
    values = [sql.SQL("%s::{}").format(sql.SQL(type_of(column))) for column in columns]
    names = [*map(_name, columns), _place(columns)]
    return sql.SQL("(select {}) k({})").format(_joined(", ", [*values, sql.SQL("1")]), _joined(", ", names))


def _place(columns: Sequence[Column[Any]]) -> sql.Identifier:
    """Return a name that no column has."""
    return sql.Identifier("place" + "_" * max((len(column.name) for column in columns), default=0))


def _joined(between: str, parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(between).join(parts)


def _ordered(column: Column[Any]) -> sql.Composed:
    return sql.SQL('k.{} collate "C"' if is_text(column) else "k.{}").format(_name(column))


def _name(column: Column[Any]) -> sql.Identifier:
    return identifier(column.name)
