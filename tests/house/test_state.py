"""An object's state is its own: other modules call its methods, and do not set its attributes."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "eventkit"
DATA = {"Struct", "dataclass"}  # the base class and the decorator of records, whose fields anyone may change


def is_record(cls: ast.ClassDef) -> bool:
    """Return whether a class is a record that can be changed."""
    calls = [each for each in cls.decorator_list if isinstance(each, ast.Call)]
    options = [*cls.keywords, *(option for call in calls for option in call.keywords)]
    names = [*cls.bases, *cls.decorator_list, *(call.func for call in calls)]
    is_frozen = any(option.arg == "frozen" and ast.unparse(option.value) == "True" for option in options)
    return not is_frozen and any(ast.unparse(name).rpartition(".")[2] in DATA for name in names)


def targets(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Yield the attributes that code assigns to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node


def is_own(target: ast.Attribute) -> bool:
    """Return whether it is an attribute of `self` or `cls`."""
    return isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")


def test_no_attribute_is_set_from_another_module() -> None:
    """Records apart: an attribute that a class sets for itself is set by no other module."""
    paths = {str(path.relative_to(ROOT.parent)): path for path in ROOT.rglob("*.py")}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    owners: dict[str, set[str]] = defaultdict(set)
    fields: set[str] = set()
    for path, tree in trees.items():
        for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            if is_record(cls):
                fields |= {ast.unparse(each.target) for each in cls.body if isinstance(each, ast.AnnAssign)}
            else:
                for target in filter(is_own, targets(cls)):
                    owners[target.attr].add(path)

    set_elsewhere = {
        f"{path}: {target.attr}"
        for path, tree in trees.items()
        for target in targets(tree)
        if not is_own(target) and target.attr not in fields and owners[target.attr] and path not in owners[target.attr]
    }

    assert set_elsewhere == set()
