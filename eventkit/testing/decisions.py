"""Scenarios of both styles of aggregates: given events, when a decision, then events; without a database."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from eventkit.aggregates import Aggregate, Decider, Deciding, Track, fold_for, track_of
from eventkit.domain.envelope import Envelope
from eventkit.domain.metadata import NONE
from eventkit.domain.stream import StreamId
from eventkit.testing.report import Line, check, lines_of
from eventkit.testing.scenario import Scenario

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)  # of the time in a scenario's envelopes


class DecisionScenario(Scenario):
    """A scenario of an aggregate; `state` is its state after the events.

    An evolve method that takes the envelope gets one in which version, position and seconds after `BEGINNING` are the
    event's number.
    """

    def __init__(self, subject: type[Aggregate] | Decider[Any, Any], events: tuple[object, ...]) -> None:
        self._fold = fold_for(subject)
        self._given = events
        super().__init__(f"given {self._fold.name}", *(f"    {line}" for event in events for line in lines_of(event)))
        self._aggregate = self._opened(events)

    @property
    def state(self) -> Any:
        """The state; for an `Aggregate` class the aggregate itself."""
        return self._fold.state_of(self._aggregate)

    def when(self, what: Any, *args: Any, **kwargs: Any) -> Self:
        """Decide: `when(Order.add, "cake")` calls the method, `when(Add("cake"))` passes a command to a decider."""
        __tracebackhide__ = True
        self._story += ["when", *(f"    {line}" for line in lines_of(described_call(what, args, kwargs)))]
        try:
            if isinstance(self._aggregate, Deciding):
                for command in (what, *args):
                    self._aggregate.decide(command)
            else:
                what(self._aggregate, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 `then_raises` may expect it
            self._error = error
        self._settle()
        return self

    def then(self, *events: object) -> Self:
        """Expect exactly these events to have been recorded, in this order."""
        __tracebackhide__ = True
        self._check_fine(expected=events)
        check(events, self._aggregate.recorded, story=self._story, subject="the recorded events")
        self._check_state()
        return self

    def then_nothing(self) -> Self:
        """Expect no recorded event and no error."""
        __tracebackhide__ = True
        return self.then()

    def then_state(self, expected: Any) -> Self:
        """Expect this state."""
        __tracebackhide__ = True
        self._check_fine()
        check([expected], [self.state], story=self._story, subject="the states")
        return self

    def _outcome(self) -> Sequence[object]:
        recorded: Sequence[object] = self._aggregate.recorded
        return recorded

    def _opened(self, events: tuple[object, ...]) -> Any:
        state, track = self._fold.initial(), Track()
        self._fold.opened(state, track)
        for event in events:
            track.version = track.evolving = track.version + 1
            state = self._evolved(state, event, track.version)
        track.evolving = None
        return self._fold.opened(state, track)

    def _settle(self) -> None:
        """Apply the events that need their envelopes to the state, as saving does."""
        track, state = track_of(self._aggregate), self.state
        for version, event in enumerate(track.recorded, track.version + 1):
            if version > track.version + len(track.recorded) - track.deferred:
                track.evolving = version
                state = self._evolved(state, event, version)
        track.evolving, track.deferred = None, 0

    def _evolved(self, state: Any, event: object, version: int) -> Any:
        if type(event) in self._fold.enveloped:
            return self._fold.evolve(state, event, enveloped(event, version))
        return self._fold.evolve(state, event)

    def _check_state(self) -> None:
        """Expect the state to be the fold of the events: loading would lose a change without an event."""
        __tracebackhide__ = True
        again = self._opened((*self._given, *self._aggregate.recorded))
        expected = _shown(self._fold.state_of(again))
        check([expected], [_shown(self.state)], story=self._story, subject="the state and the fold of its events")


def enveloped(event: object, version: int) -> Envelope[Any]:
    """Return the envelope of an event in a scenario: its version is also its position and its time in seconds."""
    return Envelope(
        event=event,
        id=UUID(int=version),
        source="scenario",
        stream=StreamId("scenario", 1),
        version=version,
        type=type(event).__name__,
        schema_version=1,
        metadata=NONE,
        recorded_at=BEGINNING + timedelta(seconds=version),
        position=version,
    )


def described_call(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a decision as a scenario shows it."""
    if not isinstance(what, Callable) or isinstance(what, type):  # type: ignore[arg-type]
        return what if not args else Line(", ".join(map(repr, (what, *args))))
    given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return Line(f"{getattr(what, '__qualname__', repr(what))}({', '.join(given)})")


def _shown(state: Any) -> Any:
    if is_dataclass(state):
        return {field.name: getattr(state, field.name) for field in fields(state)}
    return dict(vars(state)) if hasattr(state, "__dict__") else state
