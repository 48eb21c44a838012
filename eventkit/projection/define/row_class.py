"""Makes the class of a table projection's rows, with an attribute for each column.

It is made once, when a projection is declared. For a mapped class it is a subclass with its methods and properties, but
outside of the ORM: a row has no state, no relationships and no session. Mapped classes that need those are refused.
"""

import keyword
from collections.abc import Sequence
from dataclasses import make_dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from eventkit.errors import ProjectionError

LOADED = "_loaded"  # attribute with the row's key as loaded


class RowSource(NamedTuple):
    """A table, and the mapper of its class if one was given."""

    table: sa.Table
    mapper: Mapper[Any] | None

    def name(self, column: sa.Column[Any]) -> str:
        """Return the name of a column's attribute in a row."""
        try:
            return column.key if self.mapper is None else self.mapper.get_property_by_column(column).key
        except UnmappedColumnError:  # the class leaves it out
            return column.key


def source_of(given: Any) -> RowSource:  # noqa: ANN401 a table, or any class
    """Return the source for a table or a mapped class; raise ProjectionError for anything else."""
    if isinstance(given, sa.Table):
        return RowSource(given, None)
    mapper = sa.inspect(given, raiseerr=False) if isinstance(given, type) else None
    if not isinstance(mapper, Mapper):
        raise ProjectionError(f"table={given!r} is neither a SQLAlchemy Table nor a mapped class: give one of them")
    table = mapper.local_table
    if not isinstance(table, sa.Table) or len(mapper.tables) != 1 or mapper.polymorphic_on is not None:
        raise ProjectionError(
            f"{given.__name__} is mapped to more than one table, or is one of several classes of one: a row is of one "
            "table and one class; give the table itself"
        )
    features = [feature for feature, is_used in _orm_features(mapper) if is_used]
    if features:
        raise ProjectionError(
            f"{given.__name__} has {features[0]}, which the ORM handles when it flushes, but a projection's rows are "
            f"written without it: give {given.__name__}.__table__, or a class without that"
        )
    return RowSource(table, mapper)


def row_class(source: RowSource, columns: Sequence[sa.Column[Any]]) -> type:
    """Return a class whose constructor takes the values of the columns in order, and the key."""
    names = [_checked(source, column) for column in columns]
    plain = make_dataclass(f"{source.table.name}_row", [*names, LOADED], slots=True, eq=False)
    if source.mapper is None:
        return plain
    return _row_of(source.mapper.class_, plain, names)


def stray(row: Any) -> str | None:  # noqa: ANN401 a class made for the table
    """Return an attribute that a handler has set and that is no column; cached properties are left out."""
    held = getattr(row, "__dict__", None)
    return next((name for name in held if not hasattr(type(row), name)), None) if held else None


def _orm_features(mapper: Mapper[Any]) -> list[tuple[str, bool]]:
    return [
        ("a version counter (version_id_col)", mapper.version_id_col is not None),
        ("validators (@validates)", bool(mapper.validators)),
    ]


def _row_of(cls: type, plain: Any, names: Sequence[str]) -> type:  # noqa: ANN401 a dataclass
    body = {
        "__slots__": (*names, LOADED),
        "__abstract__": True,  # declarative bases must not map this class
        "__module__": cls.__module__,
        "__init__": plain.__init__,
        "__repr__": plain.__repr__,
        "__eq__": object.__eq__,
        "__hash__": object.__hash__,
        "_sa_instance_state": _NoState(),
    }
    try:
        made: type = type(cls)(f"{cls.__name__}_row", (cls,), body)
        made.__init__ = plain.__init__  # type: ignore[misc]  # a base class may have replaced it
    except Exception as error:
        raise ProjectionError(
            f"no class of rows can be made of {cls.__name__} ({error}): give {cls.__name__}.__table__"
        ) from error
    return made


class _NoState:
    """Replaces the attribute in which the ORM keeps an instance's state; raises ProjectionError."""

    def __get__(self, row: object, cls: type) -> None:
        if row is None:
            raise AttributeError("_sa_instance_state")
        raise ProjectionError(
            f"a {cls.__name__} is a row of a projection: it has its columns, methods and properties, but no "
            "relationships and no session"
        )


def _checked(source: RowSource, column: sa.Column[Any]) -> str:
    name = source.name(column)
    usable = name.isidentifier() and not keyword.iskeyword(name) and not (name.startswith("__") and name.endswith("__"))
    if usable and name not in (LOADED, "_sa_instance_state"):
        return name
    raise ProjectionError(
        f"column {name!r} of table {source.table.fullname!r} cannot be an attribute of a row: give it another name in "
        f"Python, Column({column.name!r}, …, key={_suggested(name)!r})"
    )


def _suggested(name: str) -> str:
    words = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_").lower()
    return words if words[:1].isalpha() and not keyword.iskeyword(words) else f"column_{words}".rstrip("_")
