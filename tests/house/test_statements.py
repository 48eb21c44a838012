"""A statement stands whole in its module, and the schema is put into it in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "eventkit"
COMPOSED = {  # modules that put their statements together themselves, and the reason
    "storage/db/sql_text.py": "the place",
    "storage/events/append_sql.py": "an append has one statement, of the parts that its call needs",
    "storage/events/tag_sql.py": "the same",
    "storage/events/inline_sql.py": "the same",
    "storage/debezium/connector.py": "a statement that Debezium runs",
    "storage/tables/database_functions.py": "the body of a function, where SQLAlchemy quotes the schema",
}


def composing(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that put a schema into a text, or replace a place in braces."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "format" and any(keyword.arg == "s" for keyword in node.keywords):
                yield node.lineno
            if node.func.attr == "replace" and node.args and ast.unparse(node.args[0]).startswith("'{"):
                yield node.lineno


def test_the_schema_is_put_into_statements_in_one_place() -> None:
    """By `in_schema`, which also puts in the parts that depend on a call."""
    found = {
        str(path.relative_to(ROOT))
        for room in ("storage", "insights")
        for path in (ROOT / room).rglob("*.py")
        if any(composing(ast.parse(path.read_text(encoding="utf-8"))))
    }

    assert found == set(COMPOSED)
