"""The rows of a table projection: locked in order of key, then read, written back in one statement.

Several processes may fold into one row. So a row is locked before it is read: by the statement that reads it, which
waits for another's lock and returns what that left, or not at all what it deleted. A row that is not there is folded
from the defaults and written once, at the end; where another process created it meanwhile, that fold is void and the
row's events are folded again, on the row.

Where the database has a part in new rows (`eventkit.projection.define.row_defaults`), they are created first, and all
are locked, by an upsert whose WHERE is false; they are read by the next statement, whose snapshot sees what the
previous holder committed. Creating what is missing and then `select ... for update` would lose an update where a
handler deletes. The table is the user's; its columns' defaults make new rows.
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
from eventkit.projection.define.row_sql import RowSql, row_sql


class Delete(Enum):
    """What a handler returns to delete its row."""

    DELETE = "delete"


DELETE: Final = Delete.DELETE


class OneRowError(ProjectionError):
    """Keys that are several to Python are one to the database."""


class Taken(NamedTuple):
    """The rows of some keys, all that are there locked; None: to be deleted."""

    rows: dict[Any, Any]
    new: set[Any]  # the keys of those that are not there


class RowTable:
    """One table's rows."""

    def __init__(self, table: Any, key: Sequence[str]) -> None:  # noqa: ANN401 a Table, or a class mapped to one
        """Check that the key is unique and that new rows have all they need."""
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
        self._new_rows = RowDefaults(self._columns, key=self._of_key, values=self._values)
        self._statements: dict[tuple[str | None, bool], RowSql] = {}  # by shadow, and whether it is a single row
        self._new: dict[str | None, tuple[Any, ...] | None] = {}  # what new rows hold, once it was looked up

    def take(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> Taken:
        """Lock and read the rows of these keys, by key as given; those that are not there hold the defaults.

        Where the defaults are not known, those rows are created.
        """
        if self._defaults(connection, shadow) is None or not self._new_rows.fit(self._key_columns(keys)):
            self.lock(connection, shadow, keys)
            return Taken(self.load(connection, shadow, keys), set())
        rows = self._read(connection, self._sql(shadow, len(keys)).take, keys)
        new = set(keys).difference(rows)
        return Taken({**rows, **{key: self.fresh(shadow, key) for key in new}}, new)

    def fresh(self, shadow: str | None, key: Any) -> Any:  # noqa: ANN401 a class made for the table
        """Return a new row of a key that `take` has found to be new."""
        return self._row([*(key if len(self.key) > 1 else (key,)), *(self._new[shadow] or ())])

    def forget(self) -> None:
        """Forget what new rows hold: the table may have been altered."""
        self._new.clear()

    def lock(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> None:
        """Create the rows that are missing, with their defaults, and lock all, in order of key."""
        presets = [[_default(column) for _ in keys] for column in self._preset]
        columns = [*self._of_key, *self._preset]
        try:
            self._execute(connection, self._sql(shadow, len(keys)).lock, columns, [*self._key_columns(keys), *presets])
        except CardinalityViolation as error:  # of one statement: it would create one row twice
            raise self._one_row(connection, shadow, len(keys), len(keys) - 1) from error

    def load(self, connection: psycopg.Connection[Any], shadow: str | None, keys: Sequence[Any]) -> dict[Any, Any]:
        """Read rows that this transaction has locked, by their keys as given."""
        rows = self._read(connection, self._sql(shadow, len(keys)).load, keys)
        if len(rows) != len(keys):
            raise self._one_row(connection, shadow, len(keys), len(rows))
        return rows

    def write(self, connection: psycopg.Connection[Any], shadow: str | None, taken: Taken) -> set[Any]:
        """Write changed and new rows, and delete those that are None.

        Return the keys of new rows that another process has created meanwhile: they are not written.
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
        """Return the statements for so many rows of the table, or of its shadow."""
        single = count == 1
        if (shadow, single) not in self._statements:
            name, parts = self._name(shadow, identifier), {"preset": self._preset, "values": self._values}
            self._statements[shadow, single] = row_sql(name, key=self._of_key, single=single, **parts)
        return self._statements[shadow, single]


def _default(column: Column[Any]) -> Any:  # noqa: ANN401 a value of the user's column
    default: Any = column.default
    return default.arg(None) if default.is_callable else default.arg
