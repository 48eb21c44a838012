"""A digest of a fold's code: a snapshot with another fingerprint is not read.

It covers the state's fields and initial value, the names and schema versions of the events, and the code of the evolve
functions, of the upcasters, and of everything that they name: methods of the state and the events, and functions,
classes and constants of the same top-level packages. It does not cover other packages, calls by a computed name, and
values that change at run time: use `version=` for those. Another release of Python compiles to other bytecode, so it
gives another fingerprint.
"""

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import sha256
from inspect import getattr_static
from types import CodeType, FunctionType, ModuleType
from typing import Any

import msgspec

from eventkit.aggregates.fold import Fold
from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import Codec, classes_in, is_pydantic

_FORMAT = 1  # increase it when the format of snapshots changes
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_READABLE = ("datetime", "decimal", "fractions", "uuid")  # modules whose values have a complete repr
_GENERATED = "<string>"  # the file name of code that @dataclass generates from the fields
_ANNOTATIONS = "__annotate__"  # from 3.14 on, a function of each class with annotations; its closure is the whole class


def fingerprint(fold: Fold[Any, Any], catalog: Catalog, version: object) -> str:
    """Return the fingerprint of a fold; it is the same in every process that runs the same code."""
    initial = fold.initial()
    state = type(initial)
    return _digest(fold, catalog, version, state, msgspec.json.decode(Codec(state).encode(initial)))


def model_fingerprint(fold: Fold[Any, Any], catalog: Catalog, version: object, model: type) -> str:
    """Return the fingerprint of a decision model's fold, without the initial state, which depends on its arguments."""
    return _digest(fold, catalog, version, model, None)


def _digest(fold: Fold[Any, Any], catalog: Catalog, version: object, state: Any, initial: object) -> str:
    kinds = [catalog.type_of(cls) for cls in fold.steps]
    upcasters = [step for cls in fold.steps for step in catalog.upcasters_of(cls)]
    parts = (
        (_FORMAT, sys.implementation.cache_tag, fold.name, version),
        state.model_json_schema() if is_pydantic(state) else msgspec.json.schema(state, schema_hook=_custom),
        initial,
        sorted((kind.source, kind.name, kind.version) for kind in kinds),
        _Reader(state, classes_in(state)).read([*fold.sources, *upcasters, *fold.steps]),
    )
    return sha256(repr(parts).encode()).hexdigest()[:32]


class _Reader:
    """Describe functions by their bytecode, without line numbers, and the values that they name, each once."""

    def __init__(self, state: type, parts: list[type]) -> None:
        self._state = state
        self._parts = [cls for cls in parts if cls is not state]
        self._scopes: list[Mapping[str, Any]] = []  # the classes whose methods may be called
        self._roots: set[str] = set()  # the top-level packages that are covered
        self._seen: set[int] = {id(state)}  # the state's class: only methods that the fold calls count

    def read(self, roots: list[Any]) -> Any:
        """Return the description of the fold's functions and classes."""
        classes = [self._state, *self._parts, *(cls for cls in roots if isinstance(cls, type))]
        functions = [
            function for one in roots for function in (one, *_inner(one)) if isinstance(function, FunctionType)
        ]
        self._roots = {*(_root(function.__globals__) for function in functions), *map(_home, classes)}
        self._scopes = [vars(base) for cls in classes for base in cls.__mro__[:-1]]
        special = [value for name, value in sorted(vars(self._state).items()) if name.startswith("__")]
        made = [value for value in special if isinstance(value, FunctionType) and _is_written(value)]
        return [self._value(value) for value in (*roots, *self._parts, *made)]

    def _value(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, CodeType):
            consts = [self._value(const) for const in value.co_consts]
            return value.co_code, value.co_exceptiontable, value.co_names, value.co_varnames, consts
        if isinstance(value, set | frozenset):  # their order differs between processes
            return sorted(repr(self._value(part)) for part in value)
        parts = _parts(value)
        return _shown(value) if parts is None else [self._value(part) for part in parts]

    def _function(self, function: FunctionType) -> Any:
        if id(function) in self._seen:
            return function.__qualname__
        self._seen.add(id(function))
        inner = [self._value(one) for one in _inner(function)]
        if _root(function.__globals__) not in self._roots:
            return function.__qualname__, inner
        names = sorted(set(_names(function.__code__)))
        given = [*_closed(function), function.__defaults__, function.__kwdefaults__]
        scopes = [function.__globals__, *self._scopes, *self._modules(function, names)]
        named = [(name, self._value(scope[name])) for name in names for scope in scopes if name in scope]
        return self._value(function.__code__), self._value(given), named, inner

    def _modules(self, function: FunctionType, names: list[str]) -> list[Mapping[str, Any]]:
        found = [function.__globals__.get(name) for name in names]
        return [vars(one) for one in found if isinstance(one, ModuleType) and _root(vars(one)) in self._roots]

    def _class(self, cls: type) -> Any:
        if id(cls) in self._seen or _home(cls) not in self._roots:
            return cls.__qualname__
        self._seen.add(id(cls))
        if issubclass(cls, Enum):
            return cls.__qualname__, [(member.name, repr(member.value)) for member in cls]
        values = [value for _, value in sorted(vars(cls).items())]
        return cls.__qualname__, [self._value(value) for value in values if _is_written(value)]


def _custom(cls: Any) -> dict[str, Any]:
    return dict(cls.model_json_schema()) if is_pydantic(cls) else {"title": cls.__qualname__}


def _root(namespace: Mapping[str, Any]) -> str:
    """Return the top-level package of a module, also of `__main__` under `python -m`."""
    spec = namespace.get("__spec__")
    name: str = spec.name if spec else namespace.get("__name__", "")
    return name.partition(".")[0]


def _home(cls: type) -> str:
    return _root(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else ""


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _parts(value: Any) -> list[Any] | None:
    if isinstance(value, dict):
        return list(value.items())
    return list(value) if isinstance(value, tuple | list) else _inner(value) or None


def _shown(value: Any) -> str:
    plain = type(value) in _PLAIN or isinstance(value, Enum) or type(value).__module__ in _READABLE
    return repr(value) if plain else type(value).__qualname__


def _inner(value: Any) -> list[Any]:
    """Return the functions in a property, method, partial, decorated or dispatching function, or other callable."""
    found = [getattr(value, name, None) for name in ("fget", "__func__", "func", "__wrapped__")]
    found += getattr(value, "registry", {}).values()
    found += [getattr_static(type(value), "__call__", None)]
    return [function for function in found if isinstance(function, FunctionType)]


def _is_written(value: Any) -> bool:
    """Return whether a class's attribute is written code, not code that @dataclass or Python generates."""
    functions = [value] if isinstance(value, FunctionType) else _inner(value)
    return any(
        function.__code__.co_filename != _GENERATED and function.__name__ != _ANNOTATIONS for function in functions
    )


def _closed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell: the function refers to itself
            continue
