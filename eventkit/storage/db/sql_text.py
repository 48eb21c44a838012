"""Puts the schema into statements: each has `{s}` before the names of eventkit's tables.

A `schema` is the plain name everywhere else, and is quoted here.
"""

from functools import lru_cache


def quoted(schema: str) -> str:
    """Return a schema's name quoted, as the `{s}` of a statement with parameters."""
    return '"' + schema.replace('"', '""').replace("%", "%%") + '"'


@lru_cache(maxsize=1_000)
def in_schema(statement: str, schema: str) -> bytes:
    """Return a statement for the tables of a schema."""
    return statement.format(s=quoted(schema)).encode()
