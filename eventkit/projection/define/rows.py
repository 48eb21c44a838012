"""Locks and reads the rows of a table projection in key order, and writes them back.

Several processes may change one row. So the statement that reads a row also locks it: it waits for another transaction
and returns the row as committed, or no row after a delete. A missing row starts from the defaults and is inserted at
the end. If another process has inserted it meanwhile, its events are applied again, to that row.

If the database computes defaults of new rows (`eventkit.projection.define.row_defaults`), an upsert whose WHERE is
false first creates missing rows and locks all. The next statement reads them, with a snapshot that sees the previous
lock holder's commit. Creating missing rows and then `select ... for update` would lose an update if a handler deletes.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.errors import CardinalityViolation
from sqlalchemy import Column

from eventkit.errors import ProjectionError
from eventkit.projection.define.column_types import identifier
from eventkit.projection.define.columns import Columns
from eventkit.projection.define.row_checks import check_columns
from eventkit.projection.define.row_class import row_class, source_of, stray
from eventkit.projection.define.row_defaults import RowDefaults
from eventkit.projection.define.row_sizes import RowSizes
from eventkit.projection.define.row_sql import RowSql, row_sql


class Delete(Enum):
    """The type of DELETE, which a handler returns to delete its row."""

    DELETE = "delete"


DELETE: Final = Delete.DELETE


class OneRowError(ProjectionError):
    """Keys that differ in Python are equal in the database."""


class Taken(NamedTuple):
    """The rows of some keys; existing ones are locked. None: delete the row."""

    rows: dict[Any, Any]
    new: set[Any]  # keys without a row in the table


class RowTable:
    """The rows of one table."""

    def __init__(self, table: Any, key: Sequence[str]) -> None:  # noqa: ANN401 a Table, or a class mapped to one
        """Raise ProjectionError unless the key is unique and new rows have a value for each column."""
        self._source = source_of(table)
        self.table = self._source.table
        self.key = tuple(key)
        self._named = {self._source.name(column): column for column in self.table.columns}
        rest = [column for name, column in self._named.items() if name not in self.key]
        self._values = [column for column in rest if column.computed is None and column.identity is None]
        self._preset = [
            column for column in self._values if column.default is not None and not column.default.is_sequence
        ]
        check_columns(self._source, self._named, key=self.key, values=self._values)
        self._of_key = [self._named[name] for name in self.key]
        self._columns = Columns([*self._of_key, *self._values])
        self.row: type = row_class(self._source, self._columns.columns)
        self._attributes = [self._source.name(column) for column in self._values]
        self._key_of = attrgetter(*self.key)
        self.sizes = RowSizes(list(zip(self._attributes, self._values, strict=True)))
        self._new_rows = RowDefaults(self._columns, key=self._of_key, values=self._values)
        self._statements: dict[tuple[str | None, bool], RowSql] = {}  # by shadow, and by whether it is for a single row
        self._new: dict[str | None, tuple[Any, ...] | None] = {}  # default values by shadow, once looked up

    def take(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> Taken:
        """Lock and read the rows of these keys, by key as given; missing rows are made from the defaults.

        If the database computes the defaults, missing rows are created first.
        """
        if self._defaults(connection, shadow) is None or not self._new_rows.fit(self._key_columns(keys)):
            self.lock(connection, shadow, keys)
            return Taken(self.load(connection, shadow, keys), set())
        rows = self._read(connection, self._sql(shadow, len(keys)).take, keys)
        new = set(keys).difference(rows)
        return Taken({**rows, **{key: self.fresh(shadow, key) for key in new}}, new)

    def fresh(self, shadow: str | None, key: Any) -> Any:  # noqa: ANN401 a class made for the table
        """Return a new row for a key that `take` has returned as new."""
        return self._row([*(key if len(self.key) > 1 else (key,)), *(self._new[shadow] or ())])

    def clear_defaults(self) -> None:
        """Clear the cached defaults of new rows: the table may have been altered."""
        self._new.clear()

    def lock(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> None:
        """Create missing rows with their defaults, and lock all rows in key order."""
        presets = [[_default(column) for _ in keys] for column in self._preset]
        columns = [*self._of_key, *self._preset]
        try:
            self._execute(connection, self._sql(shadow, len(keys)).lock, columns, [*self._key_columns(keys), *presets])
        except CardinalityViolation as error:  # two keys of the statement are one row
            raise self._one_row(connection, shadow, len(keys), len(keys) - 1) from error

    def load(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> dict[Any, Any]:
        """Read rows that this transaction has locked; return them by their keys as given."""
        rows = self._read(connection, self._sql(shadow, len(keys)).load, keys)
        if len(rows) != len(keys):
            raise self._one_row(connection, shadow, len(keys), len(rows))
        return rows

    def write(self, connection: psycopg.Connection[Any], shadow: str | None, taken: Taken) -> set[Any]:
        """Write changed and new rows, and delete rows that are None.

        Return the keys of new rows that another process has inserted meanwhile; they are not written.
        """
        gone = [key for key, row in taken.rows.items() if row is None and key not in taken.new]
        kept = {key: row for key, row in taken.rows.items() if row is not None}
        self._check_rows(kept.values())
        if gone:
            self._execute(connection, self._sql(shadow, len(gone)).delete, self._of_key, self._key_columns(gone))
        changed = {key: row for key, row in kept.items() if key not in taken.new}
        if changed and self._values:
            self._write(connection, self._sql(shadow, len(changed)).write, changed)
        return self._create(connection, shadow, {key: kept[key] for key in taken.new if key in kept})

    def _create(self, connection: psycopg.Connection[Any], shadow: str | None, rows: dict[Any, Any]) -> set[Any]:
        if not rows:
            return set()
        found = self._write(connection, self._sql(shadow, len(rows)).create, rows).fetchall()
        theirs = set(rows).difference(row if len(self.key) > 1 else row[0] for row in found)
        if len(theirs) != len(rows) - len(found):
            raise self._one_row(connection, shadow, len(rows), len(found))
        return theirs

    def _read(self, connection: psycopg.Connection[Any], statement: bytes, keys: Sequence[Any]) -> dict[Any, Any]:
        found = self._execute(connection, statement, self._of_key, self._key_columns(keys)).fetchall()
        values = self._columns.read(row[1:] for row in found)
        return {keys[row[0] - 1]: self._row(value) for row, value in zip(found, values, strict=True)}

    def _write(
        self, connection: psycopg.Connection[Any], statement: bytes, rows: dict[Any, Any]
    ) -> psycopg.Cursor[Any]:
        values = [list(map(attrgetter(name), rows.values())) for name in self._attributes]
        columns = [*self._key_columns(list(rows)), *values]
        return self._execute(connection, statement, self._columns.columns, columns)

    def _execute(
        self,
        connection: psycopg.Connection[Any],
        statement: bytes,
        columns: Sequence[Column[Any]],
        values: Sequence[Sequence[Any]],
    ) -> psycopg.Cursor[Any]:
        as_parameters = self._columns.values if len(values[0]) == 1 else self._columns.arrays
        return connection.execute(statement, as_parameters(connection, columns, values))

    def _row(self, values: Sequence[Any]) -> Any:  # noqa: ANN401 a class made for the table
        return self.row(*values, values[0] if len(self.key) == 1 else tuple(values[: len(self.key)]))

    def _check_rows(self, rows: Iterable[Any]) -> None:
        key_of, mapped = self._key_of, self._source.mapper is not None
        for row in rows:
            if mapped and (name := stray(row)):
                raise ProjectionError(
                    f"a handler set {name!r} of a row of {self.table.name!r}, which is no column and would be lost"
                )
            loaded = row._loaded  # noqa: SLF001 our class
            if key_of(row) != loaded:
                raise ProjectionError(
                    f"a handler changed the key of a row of {self.table.name!r} from {loaded!r} to {key_of(row)!r}"
                )

    def _one_row(self, connection: psycopg.Connection[Any], shadow: str | None, keys: int, rows: int) -> OneRowError:
        table = self._name(shadow).as_string(connection)
        return OneRowError(
            f"{keys} keys of table {table} have {rows} rows: two keys are one row to PostgreSQL, or a key is not "
            "stored as it was given"
        )

    def _defaults(self, connection: psycopg.Connection[Any], shadow: str | None) -> tuple[Any, ...] | None:
        if shadow not in self._new:
            self._new[shadow] = self._new_rows.values(connection, self._name(shadow))
        return self._new[shadow]

    def _key_columns(self, keys: Sequence[Any]) -> list[Sequence[Any]]:
        return [keys] if len(self.key) == 1 else [list(column) for column in zip(*keys, strict=True)]

    def _name(self, shadow: str | None, quote: Callable[[str], sql.Identifier] = sql.Identifier) -> sql.Composed:
        place = [shadow or self.table.schema, self.table.name]
        return sql.SQL(".").join(quote(name) for name in place if name)

    def _sql(self, shadow: str | None, count: int) -> RowSql:
        """Return the statements for one or many rows of the table, or of its shadow."""
        single = count == 1
        if (shadow, single) not in self._statements:
            name, parts = self._name(shadow, identifier), {"preset": self._preset, "values": self._values}
            self._statements[shadow, single] = row_sql(name, key=self._of_key, single=single, **parts)
        return self._statements[shadow, single]


def _default(column: Column[Any]) -> Any:  # noqa: ANN401 a value of the user's column
    default: Any = column.default
    return default.arg(None) if default.is_callable else default.arg
