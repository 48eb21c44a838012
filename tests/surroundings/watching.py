"""Every statement that this process runs, by the user that runs it, and which of them fail without some right.

EXPLAIN checks the rights of a statement as running it does, and changes nothing.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from eventkit.storage.tables import TO_DEBEZIUM, to_debezium_body

Statements = dict[str, Any]  # a statement -> parameters that it was run with

_INSIDE = re.compile(r"(?:insert|delete) [^;]+")
_EXPLAINED = ("select", "insert", "update", "delete", "with", "table", "values", "merge")


class Watching:
    """Recorded statements: for each user, or for the role that it had set."""

    def __init__(self) -> None:
        self.by: dict[str, Statements] = {}
        self._roles: dict[int, str] = {}  # by the id of a connection, while its role is set

    def note(self, connection: psycopg.Connection[Any], query: Any, params: Any) -> None:  # noqa: ANN401 the driver's
        """Remember a statement."""
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        word = text.split(maxsplit=1)[0].lower().strip("(") if text.strip() else ""
        if text.lower().startswith(("set local role", "set role")):
            self._roles[id(connection)] = text.split()[-1].strip('"')
        elif word in ("reset", "rollback", "commit"):
            self._roles.pop(id(connection), None)
        elif word in _EXPLAINED:
            self.by.setdefault(self._roles.get(id(connection)) or connection.info.user, {})[text] = params


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    """Watch while the block lasts."""
    seen = Watching()
    with monkeypatch.context() as patched:
        for kind in (psycopg.Cursor, psycopg.ServerCursor):
            patched.setattr(kind, "execute", _noting(kind.execute, seen))
        yield seen


def _noting(execute: Any, seen: Watching) -> Any:  # noqa: ANN401 the driver's
    def noted(cursor: psycopg.Cursor[Any], query: Any, params: Any = None, **options: Any) -> Any:  # noqa: ANN401
        seen.note(cursor.connection, query, params)
        return execute(cursor, query, params, **options)

    return noted


def called(statements: Statements) -> Statements:
    """Return statements with those of the function that they call, which EXPLAIN does not look into."""
    if not any(TO_DEBEZIUM in text for text in statements):
        return statements
    insert, delete = _INSIDE.findall(to_debezium_body('"eventkit"'))
    known = {" into written": "", "written": "'(0,1)'", "$1": "''", "$2": "0"}
    inside = [insert, delete]
    for name, value in known.items():
        inside = [text.replace(name, value) for text in inside]
    return {**statements, **dict.fromkeys(inside)}


def refused(session: psycopg.Connection[Any], statements: Statements) -> list[str]:
    """Return the statements for which the session's user lacks a right; the session is in autocommit."""
    found = []
    for text, params in statements.items():
        try:
            session.execute(f"explain {text}".encode(), params)
        except InsufficientPrivilege:
            found.append(text)
    return found


def explainable(session: psycopg.Connection[Any], statements: Statements) -> Statements:
    """Return those that EXPLAIN takes, all of which this session's user may run."""
    taken = {}
    for text, params in statements.items():
        try:
            session.execute(f"explain {text}".encode(), params)
        except InsufficientPrivilege as error:
            raise AssertionError(f"{session.info.user} may not run it: {error}\n{text}") from error
        except psycopg.Error:
            continue  # it names a temporary table, or is no statement of its own
        taken[text] = params
    return taken
