"""Quotes identifiers for statements that have parameters."""


def quoted(schema: str) -> str:
    """Return a schema's name quoted, as the `{s}` of a statement with parameters."""
    return '"' + schema.replace('"', '""').replace("%", "%%") + '"'
