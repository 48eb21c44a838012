"""Runs eventkit's statements on asyncpg: placeholders by number, each value as text, rows by asyncpg's own codecs.

Statements are written with psycopg's named placeholders, each with its cast. For asyncpg `%(ids)s::uuid[]` becomes
`$1::text::uuid[]`. PostgreSQL reads the same text as from psycopg, so codecs that a service has set for jsonb, uuid or
timestamptz have no effect. This module never imports asyncpg: a caller that has such a connection has imported it.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from inspect import signature
from typing import Any, NamedTuple, Protocol, TypeGuard

from eventkit.storage.db.row_loaders import Row
from eventkit.storage.db.sql_text import qualified

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s(::text\b(?!\[))?|(.))", re.DOTALL)
_CACHED_STATEMENTS = 512  # a store has some thirty


class AsyncpgConnection(Protocol):
    """asyncpg.Connection, or a connection from a pool of asyncpg."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""

    def get_settings(self) -> Any:  # noqa: ANN401 of asyncpg
        """Return the settings that the server has reported for the session."""

    async def execute(self, query: str) -> str:
        """Run a statement without parameters."""

    async def fetch(self, query: str, *args: Any, record_class: Any) -> list[Any]:  # noqa: ANN401 of asyncpg
        """Run a statement."""


class Numbered(NamedTuple):
    """A statement with placeholders by number, and the names of its parameters in their order."""

    text: str
    names: tuple[str, ...]


def is_asyncpg(connection: object) -> TypeGuard[AsyncpgConnection]:
    """Return whether the object is a connection of asyncpg."""
    asyncpg: Any = sys.modules.get("asyncpg")
    return asyncpg is not None and isinstance(connection, (asyncpg.Connection, asyncpg.pool.PoolConnectionProxy))


@lru_cache(maxsize=_CACHED_STATEMENTS)
def numbered(statement: str) -> Numbered:
    """Translate psycopg's named placeholders, once for each statement."""
    numbers: dict[str, int] = {}

    def translated(found: re.Match[str]) -> str:
        name, _, other = found.groups()
        if name is None:
            if other != "%":
                raise ValueError(f"placeholder %{other} has no name: {statement:.200}")
            return "%"
        return f"${numbers.setdefault(name, len(numbers) + 1)}::text"

    text = _PLACEHOLDER.sub(translated, statement)
    return Numbered(text, tuple(numbers))


def texts(names: Sequence[str], params: Mapping[str, Any]) -> list[str | None]:
    """Return parameters as text, in order."""
    return [value if value is None or type(value) is str else _text(value) for value in map(params.__getitem__, names)]


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def fetch(connection: AsyncpgConnection, text: str, params: Mapping[str, Any] | None) -> list[Row]:
    """Run a statement and return its rows."""
    if params is None:
        await connection.execute(text)
        return []
    statement = numbered(text)
    arguments = texts(statement.names, params)
    query = str(qualified(statement.text))
    asyncpg: Any = sys.modules["asyncpg"]
    if _can_ignore_codecs(asyncpg.Connection):
        plain = {"ignore_custom_codec": True, "record_class": asyncpg.Record}
        rows = await connection._execute(query, arguments, 0, None, **plain)  # type: ignore[attr-defined]  # noqa: SLF001 see below
    else:
        rows = await connection.fetch(query, *arguments, record_class=asyncpg.Record)
    return [tuple(row) for row in rows]


@cache
def _can_ignore_codecs(connection: Any) -> bool:  # noqa: ANN401 a class of asyncpg's
    """Return whether asyncpg can ignore the service's codecs: by a private method, as for its own statements."""
    execute = getattr(connection, "_execute", None)
    return execute is not None and {"ignore_custom_codec", "record_class"} <= signature(execute).parameters.keys()
