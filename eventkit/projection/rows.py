"""The rows of a table projection: locked in order of key, then read in a statement of their own, written back in one.

Several processes may fold into one row. So a row is created or locked by an upsert whose WHERE is false (which locks,
and changes nothing), and read only by the next statement, whose snapshot sees what the previous holder committed.
Creating what is missing and then `select ... for update` would lose an update where a handler deletes. The table is the
user's; its columns' defaults make new rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import make_dataclass
from enum import Enum
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.adapt import PyFormat
from sqlalchemy import ARRAY, Column, Float, String, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect

from eventkit.errors import ProjectionError
from eventkit.storage.arrays import plain_array, text_array

_DIALECT: Final = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]


_FLOAT8, _NUMERIC = 701, 1700


class Delete(Enum):
    """What a handler returns to delete its row."""

    DELETE = "delete"


DELETE: Final = Delete.DELETE


class RowTable:
    """One table's statements, and the class of its rows."""

    def __init__(self, table: Table, key: Sequence[str]) -> None:
        """Check that the key is unique and that new rows have all they need."""
        self.table = table
        self.key = tuple(key)
        rest = [column for column in table.columns if column.key not in self.key]
        self._values = [column for column in rest if column.computed is None and column.identity is None]
        self._preset = [
            column for column in self._values if column.default is not None and not column.default.is_sequence
        ]
        self._check()
        self._columns = [*self._of_key(), *self._values]
        self._out = [_processor(column, "bind") for column in self._columns]
        self._in = [_processor(column, "result") for column in self._columns]
        self.row: type = make_dataclass(
            f"{table.name}_row", [*(column.key for column in self._columns), "_loaded"], slots=True, eq=False
        )
        self._statements: dict[str | None, tuple[sql.Composed, ...]] = {}

    def lock(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> None:
        """Create the rows that are missing, with their defaults, and lock all, in order of key."""
        presets = [[_default(column) for _ in keys] for column in self._preset]
        columns = [*self._key_columns(keys), *presets]
        connection.execute(self._sql(shadow)[0], self._arrays(connection, [*self._of_key(), *self._preset], columns))

    def load(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> dict[Any, Any]:
        """Read rows that this transaction has locked, by their keys as given."""
        found = connection.execute(
            self._sql(shadow)[1], self._arrays(connection, self._of_key(), self._key_columns(keys))
        ).fetchall()
        if len(found) != len(keys):
            raise ProjectionError(
                f"{len(keys)} keys of table {self.table.fullname!r} have {len(found)} rows: "
                "two keys are one row to PostgreSQL"
            )
        if not any(self._in):
            return {keys[place - 1]: self._row(values) for place, *values in found}
        return {keys[place - 1]: self._row(_convert(self._in, values)) for place, *values in found}

    def write(self, connection: psycopg.Connection[Any], shadow: str | None, rows: dict[Any, Any]) -> None:
        """Write changed rows back and delete those that are None; all are locked."""
        gone = [key for key, row in rows.items() if row is None]
        kept = {key: row for key, row in rows.items() if row is not None}
        if gone:
            connection.execute(self._sql(shadow)[2], self._arrays(connection, self._of_key(), self._key_columns(gone)))
        for row in kept.values():
            before, now = row._loaded, tuple(getattr(row, column) for column in self.key)  # noqa: SLF001 our class
            if now != before:
                raise ProjectionError(
                    f"a handler changed the key of a row of {self.table.fullname!r} from {before} to {now}"
                )
        if kept and self._values:
            by_column = [[getattr(row, column.key) for row in kept.values()] for column in self._values]
            columns = [*self._key_columns(list(kept)), *by_column]
            connection.execute(
                self._sql(shadow)[3], self._arrays(connection, [*self._of_key(), *self._values], columns)
            )

    def _row(self, values: Sequence[Any]) -> Any:  # noqa: ANN401 a class made for the table
        return self.row(*values, tuple(values[: len(self.key)]))

    def _check(self) -> None:
        table = self.table.fullname
        missing = [name for name in self.key if name not in self.table.columns]
        if missing:
            raise ProjectionError(
                f"table {table!r} has no column {missing[0]!r}, which is to be the key; "
                f"it has {', '.join(self.table.columns.keys())}"
            )
        if not any(set(self.key) == unique for unique in _uniques(self.table)):
            raise ProjectionError(
                f"key {', '.join(self.key)} of table {table!r} needs to be its primary key, or a unique constraint"
            )
        for column in self._values:
            if not column.nullable and column.default is None and column.server_default is None:
                raise ProjectionError(
                    f"column {column.name!r} of table {table!r} is NOT NULL and has no default: a new row needs one"
                )
            if not column.key.isidentifier():
                raise ProjectionError(
                    f"column {column.key!r} of table {table!r} is no Python name: give it a `key=` that is one"
                )

    def _of_key(self) -> list[Column[Any]]:
        return [self.table.columns[name] for name in self.key]

    def _key_columns(self, keys: Sequence[Any]) -> list[Sequence[Any]]:
        return [keys] if len(self.key) == 1 else [list(column) for column in zip(*keys, strict=True)]

    def _arrays(
        self, connection: psycopg.Connection[Any], columns: Iterable[Column[Any]], values: Iterable[Sequence[Any]]
    ) -> list[Any]:
        return [
            self._array(connection, column, column_values)
            for column, column_values in zip(columns, values, strict=True)
        ]

    def _array(
        self, connection: psycopg.Connection[Any], column: Column[Any], values: Sequence[Any]
    ) -> list[Any] | str:
        process = self._out[self._columns.index(column)]
        if process is not None:
            values = [value if value is None else process(value) for value in values]
        types = set(map(type, values)) - {type(None)}
        if types == {str}:
            return text_array(values)
        if types == {int}:
            return plain_array(values)
        if len(types) > 1:  # the driver takes arrays of one type
            values = [value if value is None else _written(value) for value in values]
        if isinstance(column.type, ARRAY):  # unnest would take an array of arrays apart
            return [value if value is None else _literal(connection, value) for value in values]
        return values if isinstance(values, list) else list(values)

    def _name(self, shadow: str | None) -> sql.Identifier:
        schema = shadow or self.table.schema
        return sql.Identifier(schema, self.table.name) if schema else sql.Identifier(self.table.name)

    def _sql(self, shadow: str | None) -> tuple[sql.Composed, ...]:
        """Return the statements for the table, or for its shadow: lock, load, delete, write."""
        if shadow not in self._statements:
            self._statements[shadow] = self._build(self._name(shadow))
        return self._statements[shadow]

    def _build(self, table: sql.Identifier) -> tuple[sql.Composed, ...]:
        keys, values = self._of_key(), self._values
        match = sql.SQL(" and ").join(sql.SQL("t.{c} = k.{c}").format(c=_name(column)) for column in keys)
        order = sql.SQL(", ").join(
            sql.SQL('{} collate "C"' if isinstance(column.type, String) else "{}").format(_name(column))
            for column in keys
        )
        lock = sql.SQL(
            "insert into {t} as t ({new}) select * from {given} order by {order} "
            "on conflict ({key}) do update set {first} = excluded.{first} where false"
        )
        load = sql.SQL("select k.place, {all} from {given} join {t} t on {match}")
        write = sql.SQL("update {t} t set {changes} from {given} where {match}")
        changes = sql.SQL(", ").join(sql.SQL("{c} = k.{c}").format(c=_name(column)) for column in values)
        names = sql.SQL(", ").join(sql.SQL("t.{}").format(_name(column)) for column in self._columns)
        new = [*keys, *self._preset]
        return (
            lock.format(
                t=table, new=_names(new), given=_given(new), order=order, key=_names(keys), first=_name(keys[0])
            ),
            load.format(t=table, all=names, given=_given(keys, ordinality=True), match=match),
            sql.SQL("delete from {t} t using {given} where {match}").format(t=table, given=_given(keys), match=match),
            write.format(t=table, changes=changes, given=_given([*keys, *values]), match=match),
        )


def _given(columns: Sequence[Column[Any]], *, ordinality: bool = False) -> sql.Composed:
    """Return `unnest(...) k(...)` over one array parameter a column; arrays come as text."""
    arrays = sql.SQL(", ").join(
        sql.SQL("%s::{}[]").format(sql.SQL("text" if isinstance(column.type, ARRAY) else _type(column)))
        for column in columns
    )
    inner = sql.SQL("unnest({}){}").format(arrays, sql.SQL(" with ordinality" if ordinality else ""))
    names = [_name(column) for column in columns] + ([sql.Identifier("place")] if ordinality else [])
    plain = sql.SQL("{} k({})").format(inner, sql.SQL(", ").join(names))
    if not any(isinstance(column.type, ARRAY) for column in columns):
        return plain
    cast = [
        sql.SQL("{}::{} as {}" if isinstance(c.type, ARRAY) else "{0} as {2}").format(
            _name(c), sql.SQL(_type(c)), _name(c)
        )
        for c in columns
    ]
    return sql.SQL("(select {} from {}) k").format(sql.SQL(", ").join(cast), plain)


def _names(columns: Sequence[Column[Any]]) -> sql.Composed:
    return sql.SQL(", ").join(_name(column) for column in columns)


def _name(column: Column[Any]) -> sql.Identifier:
    return sql.Identifier(column.name)


def _type(column: Column[Any]) -> str:
    """Return the type to cast to: text for varchar(n), to which a cast would cut silently; the assignment checks it."""
    native = getattr(column.type, "native_enum", False)
    return "text" if isinstance(column.type, String) and not native else column.type.compile(_DIALECT)


def _default(column: Column[Any]) -> Any:  # noqa: ANN401 a value of the user's column
    default: Any = column.default
    return default.arg(None) if default.is_callable else default.arg


def _uniques(table: Table) -> list[set[str]]:
    constraints = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    indexes = [{column.key for column in index.columns} for index in table.indexes if index.unique]
    return [
        set(table.primary_key.columns.keys()),
        *({c.key for c in constraint.columns} for constraint in constraints),
        *indexes,
    ]


def _processor(column: Column[Any], way: str) -> Callable[[Any], Any] | None:
    """Return what SQLAlchemy does to a value of this column on its way, so that its types keep their meaning."""
    kind = column.type.dialect_impl(_DIALECT)
    oid = _FLOAT8 if isinstance(kind, Float) else _NUMERIC  # what the driver says of a column; only numbers are asked
    return kind.bind_processor(_DIALECT) if way == "bind" else kind.result_processor(_DIALECT, oid)


def _convert(processors: Sequence[Callable[[Any], Any] | None], values: Sequence[Any]) -> list[Any]:
    return [process(value) if process else value for process, value in zip(processors, values, strict=True)]


def _written(value: Any) -> str:  # noqa: ANN401 a value of the user's column
    return str(int(value)) if isinstance(value, bool) else str(value)


def _literal(connection: psycopg.Connection[Any], value: Any) -> str:  # noqa: ANN401 a value of the user's column
    dumper = connection.adapters.get_dumper(list, PyFormat.TEXT)(list, connection)
    dumped = dumper.get_key(value, PyFormat.TEXT)
    if not isinstance(dumped, type):
        dumper = dumper.upgrade(value, PyFormat.TEXT)
    return bytes(dumper.dump(list(value)) or b"").decode()
