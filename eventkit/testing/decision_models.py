"""Scenarios of decision models: given events of any streams, when a decision, then events; without a database.

The model gets the events that its query matches, as a load does: events of other types or tags are left out. So a
wrong query fails here.
"""

from collections.abc import Callable, Iterable
from typing import Any, Self

from eventkit.aggregates import DecisionModel, fold_of_model, items_of_model
from eventkit.domain.catalog import Catalog
from eventkit.domain.tags import check_tags
from eventkit.testing.decisions import described_call, enveloped
from eventkit.testing.feed import At
from eventkit.testing.report import check, lines_of
from eventkit.testing.scenario import Scenario


class ModelScenario(Scenario):
    """A scenario of a decision model; `state` is the model after the events.

    An evolve method that takes the envelope gets one in which position and seconds after `BEGINNING` are the event's
    number among the matching events.
    """

    def __init__(self, model: DecisionModel, events: tuple[object, ...], catalog: Catalog) -> None:
        self.state = model
        self._catalog = catalog
        self._fold = fold_of_model(type(model), catalog)
        self._items = items_of_model(model, self._fold, catalog)
        super().__init__(f"given {model!r}", *(f"    {line}" for event in events for line in _lines(event)))
        self._decided: list[object] = []
        for event in events:
            self._apply(event)

    def when(self, decide: Callable[..., object], *args: Any, **kwargs: Any) -> Self:
        """Decide: `when(Enrolment.join, …)` calls a method or function with the model.

        It returns an event, several events, or None.
        """
        __tracebackhide__ = True
        self._story += ["when", *(f"    {line}" for line in lines_of(described_call(decide, args, kwargs)))]
        try:
            decided = decide(self.state, *args, **kwargs)
            self._decided += _listed(decided)
        except Exception as error:  # noqa: BLE001 `then_raises` may expect it
            self._error = error
        return self

    def then(self, *events: object) -> Self:
        """Expect the decision to have returned exactly these events, in this order."""
        __tracebackhide__ = True
        self._check_fine()
        check(events, self._decided, story=self._story, subject="the decided events")
        return self

    def then_nothing(self) -> Self:
        """Expect no event and no error."""
        __tracebackhide__ = True
        return self.then()

    def then_state(self, expected: DecisionModel) -> Self:
        """Expect the model to be equal to this one."""
        __tracebackhide__ = True
        self._check_fine()
        check([expected], [self.state], story=self._story, subject="the states")
        return self

    def _apply(self, given: object) -> None:
        part = given if isinstance(given, At) else At("", (given,))
        for event in part.events:
            if self._matches(event, part.tags):
                self._position += 1
                envelope = enveloped(event, self._position) if type(event) in self._fold.enveloped else None
                self._fold.evolve(self.state, event, envelope)

    _position = 0

    def _matches(self, event: object, tags: Iterable[str]) -> bool:
        kind = self._catalog.type_of(type(event))
        names = {f"{kind.source}\n{name}" for name in kind.names}
        there = {*self._catalog.encode(event).tags, *check_tags(tags)}
        return any(there.issuperset(item.tags) and (not item.types or names & {*item.types}) for item in self._items)

    def _outcome(self) -> list[object]:
        return self._decided


def _listed(decided: object) -> list[object]:
    if decided is None:
        return []
    return list(decided) if isinstance(decided, list | tuple) else [decided]


def _lines(given: object) -> list[str]:
    if not isinstance(given, At):
        return lines_of(given)
    return [line for event in given.events for line in lines_of(event)]
