"""The fold of both styles: it returns the state after an event, by the event's class.

The event classes of a function are given explicitly: in a decorator, in `events=`, or in the annotation of the second
parameter, as a class or a union of classes.
"""

from collections.abc import Callable, Iterable, Mapping
from inspect import unwrap
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from eventkit.aggregates.track import Track
from eventkit.domain.envelope import Envelope
from eventkit.domain.functions import annotation_of, refusal
from eventkit.errors import AggregateError, UnexpectedEvent

S = TypeVar("S")  # the state
A = TypeVar("A")  # the object that a repository returns: the aggregate itself, or the state with its decider

Step = Callable[..., Any]
"""Returns the state after an event; it may change and return the given state. Some steps also take the envelope."""


class Fold(msgspec.Struct, Generic[S, A], frozen=True):
    """The steps of one kind of aggregate by event class, and the conversion of its state for a repository."""

    name: str
    initial: Callable[[], S]
    steps: Mapping[type, Step]
    ignored: frozenset[type | str]  # types that the state does not depend on, as classes or by their names
    sources: tuple[Callable[..., Any], ...]  # the user's functions, for the fingerprint
    opened: Callable[[S, Track], A]
    state_of: Callable[[A], S]
    enveloped: frozenset[type] = frozenset()  # the classes whose step also takes the event's envelope

    def evolve(self, state: S, event: object, envelope: Envelope[Any] | None = None) -> S:
        """Return the state after an event; raise UnexpectedEvent for a class that has no step and is not ignored."""
        step = self.steps.get(type(event))
        if step is not None:
            after: S = step(state, event) if envelope is None else step(state, event, envelope)
            return after
        self.check(event)
        return state

    def check(self, event: object) -> None:
        """Raise UnexpectedEvent for a class that has no step and is not ignored."""
        if type(event) not in self.steps and type(event) not in self.ignored:
            raise UnexpectedEvent(self.name, type(event).__name__)


def classes_of(function: Callable[..., Any], given: Iterable[type] = ()) -> tuple[type, ...]:
    """Return the event classes that an evolve function takes: the given ones, or those of its annotation."""
    if wrong := refusal(function):
        raise AggregateError(f"{_name(function)} {wrong}")
    found: list[Any] = list(given) or _classes(_annotation(function))
    if found and object not in found and all(isinstance(cls, type) for cls in found):
        return tuple(found)
    raise AggregateError(
        f"{_name(function)} does not say which events it takes: annotate its event with a class or a union of classes, "
        "or name them"
    )


def _annotation(function: Callable[..., Any]) -> Any:
    function = unwrap(function)  # the function may be decorated
    code = getattr(function, "__code__", None)
    if code is None or code.co_argcount < 2:  # noqa: PLR2004 the state and the event
        return None
    try:
        return annotation_of(function, code.co_varnames[1])
    except NameError as error:
        raise AggregateError(
            f"an annotation of {_name(function)} cannot be resolved ({error}): name the event classes instead"
        ) from error


def _classes(hint: Any) -> list[Any]:
    hint = getattr(hint, "__value__", hint)  # type Event = Placed | Paid
    if get_origin(hint) in (Union, UnionType):
        return [cls for part in get_args(hint) for cls in _classes(part)]
    return [] if hint is None else [hint]


def _name(function: object) -> str:
    return getattr(function, "__qualname__", repr(function))
