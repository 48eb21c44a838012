"""Reads rows with psycopg's default loaders, although a service may have registered others for its connection."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg
import sqlalchemy
from psycopg.adapt import AdaptersMap
from psycopg.postgres import register_default_adapters
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

Row = tuple[Any, ...]

_KINDS: dict[int, Callable[[Any], Any]] = {  # of statement results, by PostgreSQL's type
    16: lambda value: value in (True, "t"),
    20: int,
    21: int,
    23: int,
    25: str,
}


# The same types in text, as they are received. Calls of C functions alone: each append reads its row so.
_FROM_BYTES: dict[int, Callable[[bytes], Any]] = {16: b"t".__eq__, 20: int, 21: int, 23: int, 25: bytes.decode}


class _Plain:
    """psycopg's default loaders and dumpers."""

    connection = None
    adapters = AdaptersMap(types=psycopg.adapters.types)


register_default_adapters(_Plain())
_PLAIN = _Plain.adapters
_PLAIN_LOADERS = [(oid, _PLAIN.get_loader(oid, Format.TEXT)) for oid in _KINDS]


def short_result(result: PGresult) -> list[Row] | None:
    """Return the rows of a result with one row of numbers and text, or with none; None for any other result.

    The result has values in text, in UTF-8.
    """
    if result.status == ExecStatus.COMMAND_OK or (result.status == ExecStatus.TUPLES_OK and not result.ntuples):
        return []
    if result.ntuples != 1:
        return None
    row = []
    for column in range(result.nfields):
        load = _FROM_BYTES.get(result.ftype(column))
        if load is None:
            return None
        value = result.get_value(0, column)
        row.append(value if value is None else load(value))
    return [tuple(row)]


def plain_loaders(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> None:
    """Set psycopg's default loaders on a cursor for numbers and text that the caller has changed."""
    for oid in changed_types(cursor.adapters):
        loader = _PLAIN.get_loader(oid, Format.TEXT)
        if loader is not None:
            cursor.adapters.register_loader(oid, loader)


def changed_types(adapters: AdaptersMap) -> list[int]:
    """Return the types in the results of eventkit's statements that the caller has registered another loader for."""
    get = adapters.get_loader
    return [oid for oid, plain in _PLAIN_LOADERS if get(oid, Format.TEXT) is not plain]


def plain_rows(result: sqlalchemy.CursorResult[Any]) -> list[Row]:
    """Return rows that a driver has already loaded, with numbers and text as Python's own."""
    columns = cast("Sequence[Sequence[Any]]", result.cursor.description)
    kinds = [_KINDS.get(column[1]) for column in columns]
    return [
        tuple(kind(value) if kind and value is not None else value for kind, value in zip(kinds, row, strict=True))
        for row in result
    ]
