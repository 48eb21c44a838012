"""Checks of the user's functions at registration, so that a call cannot fail silently later; names for messages.

Calling a generator function runs nothing, calling a class makes an instance, and a coroutine has to be awaited. The
functions here return a sentence; the caller raises its own error with it.
"""

import contextlib
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
_decorators: Any = (contextlib.contextmanager, contextlib.asynccontextmanager)
_MANAGERS = tuple(decorate(repr).__code__ for decorate in _decorators)  # of all functions that they make


def name_of(function: object) -> str:
    """Return a function's name for a message."""
    return getattr(function, "__qualname__", None) or repr(function)


def name_of_class(cls: type) -> str:
    """Return the shortest name by which a class is imported, for a message: `str`, `pathlib.Path`, `sqlalchemy.Engine`.

    Many packages define a class in an inner module, which may change, and export it at the top.
    """
    parts = cls.__module__.split(".")
    if parts == ["builtins"]:
        return cls.__qualname__
    outer = (".".join(parts[:end]) for end in range(1, len(parts)))
    exporting = (name for name in outer if getattr(sys.modules.get(name), "__dict__", {}).get(cls.__qualname__) is cls)
    return f"{next(exporting, cls.__module__)}.{cls.__qualname__}"


def refusal(function: Any, *, generator: bool = False, asynchronous: bool = False) -> str | None:
    """Return why calling a function would have no effect; None if it would.

    `generator` and `asynchronous` allow a generator function and an `async def`.
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
    """Return whether a function is `async def`; also a method, a partial and an object with such a `__call__`."""
    return callable(function) and inspect.iscoroutinefunction(_plain(function))


def is_cached(function: Any) -> bool:
    """Return whether a function does not run for arguments that equal earlier ones, as with `functools.cache`."""
    return hasattr(function, "cache_info") and hasattr(function, "cache_clear")


def positional(function: Any) -> int | None:
    """Return the number of positional parameters; None for a function without a signature, such as some built-ins."""
    try:
        parameters = inspect.signature(function, **_AS_TEXT).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(parameter.kind in _POSITIONAL for parameter in parameters)


def wrong_parameters(function: Any, counts: Collection[int]) -> str | None:
    """Return why a function cannot be called with one of these numbers of arguments; None if it can."""
    count = positional(function)
    if count is None:
        return None
    if count not in counts:
        return f"takes {count} arguments"
    parameters = inspect.signature(function, **_AS_TEXT).parameters.values()
    needed = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty]
    return f"needs {needed[0]!r} by its name, which nobody gives" if needed else None


def takes(function: Any, parameter: str) -> bool:
    """Return whether a function has a parameter of that name; False for a function without a signature."""
    try:
        return parameter in inspect.signature(function, **_AS_TEXT).parameters
    except (TypeError, ValueError):
        return False


def annotation_of(function: Any, parameter: str) -> Any:
    """Return the annotated type of one parameter, None without; raise NameError if its name cannot be resolved.

    The annotations of other parameters are not resolved.
    """
    given = _LATE.get_annotations(function, format=_LATE.Format.FORWARDREF) if _LATE else function.__annotations__
    if parameter not in given:
        return None
    alone = type("alone", (), {"__annotations__": {parameter: given[parameter]}})
    return get_type_hints(alone, globalns=getattr(function, "__globals__", {}))[parameter]


def unrun(result: object) -> str | None:
    """Return a sentence if a function's result has yet to be run, as a coroutine or a generator; None for any other."""
    if result is None:
        return None
    if inspect.iscoroutine(result):
        result.close()  # otherwise Python warns that it was never awaited
        return "a coroutine, which nobody awaits"
    if inspect.isawaitable(result) or inspect.isasyncgen(result):
        return "an awaitable, which nobody awaits"
    if isinstance(result, contextlib.ContextDecorator | contextlib.AsyncContextDecorator):
        return "a context manager, which nobody enters"
    if inspect.isroutine(result) or isinstance(result, functools.partial):  # as a decorator without its parentheses
        return "a function, which nobody calls"
    return "a generator, which nobody runs" if inspect.isgenerator(result) else None


def _plain(function: Any) -> Any:
    """Return the function behind a partial, a bound method, an object that can be called, or `@contextmanager`."""
    while isinstance(function, functools.partial | staticmethod | classmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if getattr(function, "__code__", None) in _MANAGERS:
        return inspect.unwrap(function)
    return function if inspect.isroutine(function) else type(function).__call__
