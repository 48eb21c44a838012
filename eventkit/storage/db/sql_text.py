"""Identifiers as text for statements that have parameters."""


def quoted(schema: str) -> str:
    """Quote an identifier for a statement with parameters."""
    return '"' + schema.replace('"', '""').replace("%", "%%") + '"'
