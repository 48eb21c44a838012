"""Aggregates as classes: methods decide and record events, and only methods marked with `evolve` change the state.

    @dataclass
    class Order(Aggregate):
        customer: str = ""
        paid: bool = False

        def pay(self) -> None:
            if self.paid:
                raise AlreadyPaid(self.stream)
            self.record(OrderPaid())

        @evolve
        def _paid(self, event: OrderPaid) -> None:
            self.paid = True

The class need not be a dataclass, but must work without arguments: that instance is the state before the first event.
A recorded event changes the state at once. The repository appends it when it saves.

A method with a parameter `envelope` also gets the event's envelope: time, metadata, position. They are known only once
the event is stored, so such an event changes the state when the repository saves. Until then recording another event
raises AggregateError.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self, TypeVar, overload

from eventkit.aggregates.fold import Fold, Step, classes_of
from eventkit.aggregates.track import Track, Tracked
from eventkit.domain.envelope import Envelope
from eventkit.domain.functions import takes
from eventkit.errors import AggregateError

F = TypeVar("F", bound=Callable[..., None])
_MARK = "__eventkit_evolves__"
_FOLD = "__eventkit_fold__"


@overload
def evolve(function: F, /) -> F: ...
@overload
def evolve(*events: type) -> Callable[[F], F]: ...
def evolve(*events: Any) -> Any:
    """Mark the method that changes the state for the event types of its annotation, or of `@evolve(Paid, Refunded)`."""

    def mark(function: F) -> F:
        setattr(function, _MARK, given)
        return function

    given: tuple[type, ...] = events if all(isinstance(event, type) for event in events) else ()
    return mark if given or not events else mark(events[0])


class Aggregate(Tracked):
    """State that is folded from a stream.

    `ignored` lists the event types that the state does not depend on, as classes or by their names. Any other type
    without an evolve method raises UnexpectedEvent.
    """

    __slots__ = ()
    ignored: ClassVar[tuple[type | str, ...]] = ()

    def __new__(cls, *_: object, **__: object) -> Self:
        self = super().__new__(cls)  # here, so that a subclass need not call `super().__init__()`
        self._track = Track()
        return self

    def record(self, *events: object) -> None:
        """Record events: they change the state at once, and are appended when the repository saves.

        Raises UnexpectedEvent if no method evolves an event, AggregateError inside of an evolve method.
        """
        fold, track = fold_of(type(self)), self._track
        if track.evolving is not None:
            raise AggregateError(
                f"{type(self).__name__} recorded an event while its state was evolved: it would record it again each "
                "time it is loaded; decide in a method, and only change the state in an evolve method"
            )
        if track.deferred:
            waiting = _kinds(track.recorded[-track.deferred :])
            raise AggregateError(
                f"{type(self).__name__} recorded {_kinds(events)} while {waiting} waits for its envelope: the state "
                "after it is known when it is stored, so save the aggregate first"
            )
        for event in events:
            if track.deferred or type(event) in fold.enveloped:
                fold.check(event)
                track.deferred += 1
                track.recorded.append(event)
                continue
            track.evolving = track.version + len(track.recorded) + 1
            try:
                fold.evolve(self, event)
            finally:
                track.evolving = None
            track.recorded.append(event)


A = TypeVar("A", bound=Aggregate)


def _kinds(events: Iterable[object]) -> str:
    return ", ".join(type(event).__name__ for event in events)


def fold_of(cls: type[A]) -> Fold[A, A]:
    """Return an aggregate class's fold, made once; raise AggregateError if the class cannot be used."""
    if Aggregate not in getattr(cls, "__mro__", ()):
        raise AggregateError(f"{cls!r} is no aggregate: give a class of Aggregate, or a Decider")
    fold: Fold[A, A] | None = vars(cls).get(_FOLD)
    if fold is None:
        fold = _fold_of(cls)
        setattr(cls, _FOLD, fold)
    return fold


def _fold_of(cls: type[A]) -> Fold[A, A]:
    methods = evolving_methods(cls)
    steps, enveloped = steps_of(cls, methods)
    return Fold(cls.__name__, cls, steps, frozenset(cls.ignored), tuple(methods), _opened, _itself, enveloped)


def evolving_methods(cls: type) -> list[Any]:
    """Return the methods that are marked with `evolve`, without those that a subclass overrides."""
    methods = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
    return [function for function in methods.values() if hasattr(function, _MARK)]


def steps_of(cls: type, methods: list[Any]) -> tuple[dict[type, Step], frozenset[type]]:
    """Return the step of each event class, and the classes whose method takes the envelope."""
    found = list(_steps(cls, methods))
    if not found:
        raise AggregateError(f"{cls.__name__} evolves no event: mark the methods that change its state with @evolve")
    enveloped = [event for event, function in found if takes(function, "envelope")]
    return {event: _step(function) for event, function in found}, frozenset(enveloped)


def _steps(cls: type, methods: list[Any]) -> Iterator[tuple[type, Any]]:
    taken: dict[type, str] = {}
    for function in methods:
        for event in classes_of(function, getattr(function, _MARK)):
            if event in taken:
                raise AggregateError(
                    f"{cls.__name__} evolves {event.__name__} twice, in {taken[event]} and in {function.__name__}: "
                    "join them"
                )
            taken[event] = function.__name__
            yield event, function


def _step(function: Callable[..., None]) -> Step:
    def step(state: Any, event: Any) -> Any:
        function(state, event)
        return state

    def step_with_envelope(state: Any, event: Any, envelope: Envelope[Any]) -> Any:
        function(state, event, envelope=envelope)
        return state

    return step_with_envelope if takes(function, "envelope") else step


def _opened(aggregate: A, track: Track) -> A:
    aggregate._track = track  # noqa: SLF001 own class; set here because a snapshot's decoder does not call __new__
    return aggregate


def _itself(aggregate: A) -> A:
    return aggregate
