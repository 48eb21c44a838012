"""The names of columns and of their types in statements, chosen so that no cast changes a value.

A cast to `varchar(3)` truncates a longer text without an error, while an assignment raises one. So statements cast to
types without a length, and PostgreSQL checks the length when it writes the row.
"""

import re
from typing import Any, Final

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.types import TypeEngine

# Without a native hstore: that needs an adapter on each connection, and SQLAlchemy converts its text as well.
DIALECT: Final = psycopg_dialect.dialect(use_native_hstore=False)  # type: ignore[no-untyped-call]
_LENGTH = re.compile(r'("(?:[^"]|"")*")|\s*\([^()]*\)|\s+COLLATE\s+("(?:[^"]|"")*"|\S+)', re.IGNORECASE)
_TEXT = {"VARCHAR", "CHAR", "NVARCHAR", "NCHAR", "TEXT"}
_CUT = {"BIT": "BIT VARYING", "BIT VARYING": "BIT VARYING"}  # `bit` alone is bit(1)


def type_of(column: sa.Column[Any]) -> str:
    """Return the type for casts: the column's type without a length."""
    return _name(column.type)


def stored_type_of(column: sa.Column[Any]) -> str:
    """Return the type in which a value is read back: numbers and times are rounded as in the column."""
    loose = is_padded(column) or is_text(column) or is_array(column)
    return type_of(column) if loose else column.type.compile(DIALECT)


def is_text(column: sa.Column[Any]) -> bool:
    """Whether values are compared as text."""
    return type_of(column) in {"text", "CITEXT"}


def is_array(column: sa.Column[Any]) -> bool:
    """Whether a value is an array itself."""
    return type_of(column).endswith("[]")


def is_bytes(column: sa.Column[Any]) -> bool:
    """Whether a value is bytes."""
    return type_of(column) == "BYTEA"


def is_padded(column: sa.Column[Any]) -> bool:
    """Whether the database may return another value than it was given: padded with blanks, or changed by a domain."""
    kind = _undecorated(column.type)
    padded = column.type.compile(DIALECT).upper().startswith(("CHAR", "NCHAR", "BIT"))
    return padded or isinstance(kind, DOMAIN)


def identifier(name: str) -> sql.Identifier:
    """Quote a name for a statement with parameters, in which psycopg reads a single % as a placeholder."""
    return sql.Identifier(name.replace("%", "%%"))


def _name(kind: TypeEngine[Any]) -> str:
    plain = _undecorated(kind)
    if isinstance(plain, sa.ARRAY):
        return _name(plain.item_type) + "[]" * (plain.dimensions or 1)
    if isinstance(plain, DOMAIN):
        return _name(plain.data_type)
    name = _LENGTH.sub(lambda found: found[1] or "", kind.compile(DIALECT)).strip()
    return "text" if name.upper() in _TEXT else _CUT.get(name.upper(), name)


def _undecorated(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    plain = kind.dialect_impl(DIALECT)
    while isinstance(plain, sa.TypeDecorator):
        plain = plain.type_engine(DIALECT)
    return plain
