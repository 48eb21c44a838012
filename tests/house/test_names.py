"""A class name says which class is meant."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "eventkit"


def test_each_class_has_a_name_of_its_own() -> None:
    """In the whole package; Django asks for the name `Command`."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py"))
    names = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, number in names.items() if number > 1] == []
