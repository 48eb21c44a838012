"""Functions of the user's that are called later: looked at where they are given, so that none is called in vain.

A generator would never be run, a class would make an instance, an `async def` is awaited by few of those who take
functions: nothing would happen, and nobody would say so. Each room raises its own error with the sentence from here.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Collection
from typing import Any, get_type_hints

# Names that only a type checker imports stay unresolved where annotations are evaluated late.
_LATE = importlib.import_module("annotationlib") if sys.version_info >= (3, 14) else None
_AS_TEXT: dict[str, Any] = {"annotation_format": _LATE.Format.STRING} if _LATE else {}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def name_of(function: object) -> str:
    """Return what a function is called in a sentence."""
    return getattr(function, "__qualname__", None) or repr(function)


def refusal(function: Any, *, generator: bool = False, asynchronous: bool = False) -> str | None:
    """Say why a function would be called in vain; None where it would not.

    A `generator` may be what is wanted; an `async def` may be taken, by those who await it.
    """
    if inspect.isclass(function):
        return "is a class, and calling it would make an instance: give a function"
    if not callable(function):
        return "is no function"
    plain = _plain(function)
    if inspect.iscoroutinefunction(plain) and not asynchronous:
        return "is `async def`, and would be called but never awaited: write a plain function"
    if inspect.isasyncgenfunction(plain) or (inspect.isgeneratorfunction(plain) and not generator):
        return "has a `yield`, and would be called but never run: write a plain function"
    return None


def is_asynchronous(function: Any) -> bool:
    """Whether a function is `async def`; also a method, a partial and an object with such a `__call__`."""
    return callable(function) and inspect.iscoroutinefunction(_plain(function))


def positional(function: Any) -> int | None:
    """Return how many arguments a function takes by position; None where it cannot be known, as of some built-ins."""
    try:
        parameters = inspect.signature(function, **_AS_TEXT).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(parameter.kind in _POSITIONAL for parameter in parameters)


def wrong_parameters(function: Any, counts: Collection[int]) -> str | None:
    """Say why a function cannot be called with one of these numbers of arguments; None where it can."""
    count = positional(function)
    if count is None:
        return None
    if count not in counts:
        return f"takes {count} arguments"
    parameters = inspect.signature(function, **_AS_TEXT).parameters.values()
    needed = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty]
    return f"needs {needed[0]!r} by its name, which nobody gives" if needed else None


def takes(function: Any, parameter: str) -> bool:
    """Return whether a function has a parameter of that name; False where it cannot be known."""
    try:
        return parameter in inspect.signature(function, **_AS_TEXT).parameters
    except (TypeError, ValueError):
        return False


def annotation_of(function: Any, parameter: str) -> Any:
    """Return the type of one parameter, None without; whatever the others name. NameError where it is not known."""
    given = _LATE.get_annotations(function, format=_LATE.Format.FORWARDREF) if _LATE else function.__annotations__
    if parameter not in given:
        return None
    alone = type("alone", (), {"__annotations__": {parameter: given[parameter]}})
    return get_type_hints(alone, globalns=getattr(function, "__globals__", {}))[parameter]


def unrun(result: object) -> str | None:
    """Say what a function has returned instead of running; None where it is anything else."""
    if inspect.iscoroutine(result):
        result.close()  # it is not to be awaited
        return "a coroutine, which nobody awaits"
    if inspect.isawaitable(result) or inspect.isasyncgen(result):
        return "an awaitable, which nobody awaits"
    return "a generator, which nobody runs" if inspect.isgenerator(result) else None


def _plain(function: Any) -> Any:
    """Return the function behind a partial, a bound method or an object that can be called."""
    while isinstance(function, functools.partial | staticmethod | classmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function if inspect.isroutine(function) else type(function).__call__
