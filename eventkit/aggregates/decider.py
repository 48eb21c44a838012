"""Aggregates as functions: `decide` returns events for a command, `evolve` returns the next state for an event.

    def decide(command: Pay, order: Order) -> list[OrderPaid]: ...
    def evolve(order: Order, event: OrderPlaced | OrderPaid) -> Order: ...

    orders = Decider(Order, decide, evolve)       # Order() is the state before the first event

The state may be immutable. A repository returns it as a `Deciding`.
"""

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

from eventkit.aggregates.fold import Fold, classes_of
from eventkit.aggregates.track import Track, Tracked
from eventkit.domain.functions import name_of, refusal, takes
from eventkit.errors import AggregateError

C = TypeVar("C")
S = TypeVar("S")


class Decider(Generic[C, S]):
    """Three functions: the initial state, from command to events, from event to state.

    `events` are the classes that `evolve` takes, by default those of its annotation. `ignored` lists types that the
    state does not depend on.
    """

    def __init__(
        self,
        initial_state: Callable[[], S],
        decide: Callable[[C, S], Iterable[Any]],
        evolve: Callable[[S, Any], S],
        *,
        events: Iterable[type] = (),
        ignored: Iterable[type | str] = (),
        name: str | None = None,
    ) -> None:
        if wrong := refusal(decide, generator=True):  # its events are made into a list
            raise AggregateError(f"{name_of(decide)} {wrong}")
        if takes(evolve, "envelope"):
            raise AggregateError(
                f"{name_of(evolve)} takes an envelope, but a decider evolves before an event is stored, when it has "
                "none: keep what the state depends on in the event, or write an Aggregate"
            )
        self.initial_state = initial_state
        self.decide = decide
        self.evolve = evolve
        self.name = name or type(initial_state()).__name__
        self._events = tuple(events)
        self._ignored = frozenset(ignored)

    @cached_property
    def fold(self) -> Fold[S, "Deciding[C, S]"]:
        """The fold of this decider."""
        steps = dict.fromkeys(classes_of(self.evolve, self._events), self.evolve)
        opened = partial(Deciding[C, S], self)
        return Fold(
            self.name, self.initial_state, steps, self._ignored, (self.evolve, self.initial_state), opened, _state
        )


class Deciding(Tracked, Generic[C, S]):
    """A state with its decider, as a repository returns it."""

    __slots__ = ("_decider", "state")

    def __init__(self, decider: Decider[C, S], state: S, track: Track) -> None:
        self._decider = decider
        self._track = track
        self.state = state

    def decide(self, command: C) -> list[Any]:
        """Record and return the events that the decider returns for a command; they change the state."""
        events = self._decider.decide(command, self.state)
        if isinstance(events, str | bytes) or not isinstance(events, Iterable):
            raise AggregateError(
                f"decide of {self._decider.name} returned {events!r} for {command!r}: it returns a list of events, "
                "empty where nothing happens"
            )
        return [self._record(event) for event in list(events)]

    def _record(self, event: Any) -> Any:
        self.state = self._decider.fold.evolve(self.state, event)
        self._track.recorded.append(event)
        return event


def _state(deciding: Deciding[Any, S]) -> S:
    return deciding.state
