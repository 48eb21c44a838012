"""Help texts for a Python without docstrings (`python -OO`, PYTHONOPTIMIZE=2): they are read from the source."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def restore(command: click.Command) -> None:
    """Set the help of a command and its subcommands from the docstrings in the source."""
    if command.help is None and command.callback is not None:
        command.help = _docstring(inspect.unwrap(command.callback))
    for below in getattr(command, "commands", {}).values():
        restore(below)


def _docstring(function: Callable[..., Any]) -> str | None:
    code = function.__code__
    try:
        tree = ast.parse(Path(code.co_filename).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and _first_line(node) == code.co_firstlineno:
            return ast.get_docstring(node)
    return None


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
