"""Runs the statements of the insights, counts up to a limit, and reads and writes the keys of pages."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from eventkit.insights.answers import Amount
from eventkit.storage.db import database_errors, in_schema, quoted

MOST_COUNTED = 1_000  # rows that a count reads
MAX_LIMIT = 1_000  # items of a page

Row = tuple[Any, ...]


class InsightReader:
    """One schema, over an open connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self.connection = connection
        self.schema = schema

    def table(self, name: str) -> str:
        """Return a table's name with the schema, quoted."""
        return f"{quoted(self.schema)}.{name}"

    def rows(self, statement: str, params: Mapping[str, object] | None = None, **parts: str) -> list[Row]:
        """Return the rows of a statement; `{s}` in it is the schema, and `parts` are those of `in_schema`."""
        with database_errors():
            text = in_schema(statement, self.schema, **parts)
            return self.connection.execute(text, params, binary=True).fetchall()  # by no DateStyle of the session

    def row(self, statement: str, params: Mapping[str, object] | None = None, **parts: str) -> Row:
        """Return the only row of a statement."""
        return self.rows(statement, params, **parts)[0]

    def amount(
        self, rows: str, params: Mapping[str, object] | None = None, *, most: int = MOST_COUNTED, exact: bool = False
    ) -> Amount:
        """Count the rows of a select without a select list: up to `most`, then as the planner estimates; or all."""
        limit = "" if exact else f" limit {most + 1}"
        (counted,) = self.row(f"select count(*) from ({rows}{limit}) counted", params)
        return Amount(value=counted, is_exact=True) if exact or counted <= most else self._estimate(rows, params, most)

    def _estimate(self, rows: str, params: Mapping[str, object] | None, most: int) -> Amount:
        (plan,) = self.row(f"explain (format json) {rows}", params)
        return Amount(value=max(most, int(plan[0]["Plan"]["Plan Rows"])), is_exact=False)


def checked_limit(limit: int) -> int:
    """Return the limit of a page; raise ValueError where it is not from 1 to 1,000."""
    if type(limit) is not int or not 0 < limit <= MAX_LIMIT:
        raise ValueError(f"limit={limit!r}: give a whole number from 1 to {MAX_LIMIT}")
    return limit


def page_key(*values: int | str) -> str:
    """Return the key of a page."""
    return base64.urlsafe_b64encode(json.dumps(values, ensure_ascii=False).encode()).decode().rstrip("=")


def read_key(key: str | None, *kinds: type) -> Sequence[Any] | None:
    """Return the values of a page's key, None where it is None; raise ValueError where it is no key of this list."""
    if key is None:
        return None
    try:
        text = base64.urlsafe_b64decode(key.encode() + b"=" * (-len(key) % 4)).decode()
        values = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
        raise ValueError(f"after={key!r} is no key of this list: give the `next` of a page of it")
    return values
