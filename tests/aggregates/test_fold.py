"""Both styles: the accepted forms of a class or a decider, and the forms refused at their declaration."""

from dataclasses import dataclass

import pytest

from eventkit.aggregates.aggregate import Aggregate, evolve, fold_of
from eventkit.aggregates.decider import Decider, Deciding
from eventkit.aggregates.fold import classes_of
from eventkit.aggregates.track import Track
from eventkit.errors import AggregateError, UnexpectedEvent
from tests.aggregates.shop import Add, Added, Cart, Close, Closed, Odd, Order, OrderClosed, Viewed, cart, decide


def test_a_recorded_event_changes_the_state_at_once() -> None:
    """A method that records twice decides the second time on the state after the first."""
    order = Order()

    order.add("tea", 2)
    order.close()
    with pytest.raises(OrderClosed):
        order.add("cake")

    assert order == Order({"tea": 2}, closed=True)
    assert order.recorded == (Added("tea", 2), Closed())


def test_an_aggregate_needs_no_dataclass() -> None:
    """A class with an `__init__` of its own, that does not call `super().__init__()`, is an aggregate."""

    class Counter(Aggregate):
        def __init__(self) -> None:
            self.count = 0

        @evolve(Added, Closed)
        def _counted(self, _: object) -> None:
            self.count += 1

    counter = Counter()
    counter.record(Added("tea"), Closed())

    assert (counter.count, counter.version, counter.stream) == (2, 0, None)


def test_a_dataclass_with_slots_is_an_aggregate() -> None:
    """`@dataclass(slots=True)` makes a new class of the declared one: that is the one that counts."""

    @dataclass(slots=True)
    class Counter(Aggregate):
        count: int = 0

        @evolve(Added)
        def _counted(self, _: object) -> None:
            self.count += 1

    counter = Counter()
    counter.record(Added("tea"))

    assert counter.count == 1


def test_a_subclass_replaces_the_methods_it_overrides() -> None:
    """An evolve method of the same name takes the place of the base's."""

    class Doubled(Order):
        @evolve
        def _added(self, event: Added) -> None:
            self.items[event.item] = 2 * event.count

    order = Doubled()
    order.add("tea", 3)

    assert order.items == {"tea": 6}


def test_recording_a_type_that_is_not_evolved_is_refused_unless_ignored() -> None:
    """An event without a meaning for the state is a mistake, or is named in `ignored`."""
    order = Order()

    order.record(Viewed())
    with pytest.raises(UnexpectedEvent, match="Order was given Odd, which Order does not evolve"):
        order.record(Odd())

    assert order.recorded == (Viewed(),)


def test_a_decider_records_its_decision() -> None:
    """Each command sees the state that the events before have made."""
    deciding: Deciding[Add | Close, Cart] = cart.fold.opened(Cart(), Track())

    assert deciding.decide(Add("tea")) == [Added("tea")]
    assert deciding.decide(Close()) == [Closed()]
    assert deciding.decide(Close()) == []

    assert deciding.state == Cart(("tea",), closed=True)
    assert deciding.recorded == (Added("tea"), Closed())


def test_a_decider_names_its_events_by_annotation_or_by_name() -> None:
    """`events=` stands in for an annotation, and comes before it."""
    named: Decider[Add | Close, Cart] = Decider(Cart, decide, lambda cart, _: cart, events=[Added])

    assert set(cart.fold.steps) == {Added, Closed}
    assert set(named.fold.steps) == {Added}


def test_a_lone_event_from_decide_is_refused() -> None:
    """`decide` returns a list; the error shows the value that came instead."""
    wrong: Decider[Add, Cart] = Decider(Cart, lambda *_: Closed(), lambda cart, _: cart, events=[Closed])  # type: ignore[arg-type]
    deciding = wrong.fold.opened(Cart(), Track())

    with pytest.raises(AggregateError, match=r"returned Closed\(\) for Add\(item='tea'\)"):
        deciding.decide(Add("tea"))


def test_a_class_that_evolves_nothing_is_refused() -> None:
    """Its state could never change."""

    class Empty(Aggregate):
        pass

    with pytest.raises(AggregateError, match="Empty evolves no event"):
        fold_of(Empty)


def test_an_event_evolved_twice_is_refused() -> None:
    """The error names both methods."""

    class Twice(Aggregate):
        @evolve
        def one(self, event: Added) -> None: ...

        @evolve(Added)
        def two(self, event: object) -> None: ...

    with pytest.raises(AggregateError, match="evolves Added twice, in one and in two"):
        fold_of(Twice)


@pytest.mark.parametrize("hint", [None, object, "Missing", list[int]])
def test_an_evolve_method_must_say_its_events(hint: object) -> None:
    """No annotation, an empty one, or one that cannot be resolved: the error gives the remedy."""

    def method(self: object, event: object) -> None: ...

    method.__annotations__ = {} if hint is None else {"event": hint}
    vague = type("Vague", (Aggregate,), {"method": evolve(method)})

    with pytest.raises(AggregateError, match=r"method .*name"):
        fold_of(vague)


def test_only_the_events_annotation_must_be_known() -> None:
    """Other parameters and the return type may use names that only a type checker imports."""

    def evolve_cart(state: "Nowhere", event: Added | Closed) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
        return (state, event)

    assert classes_of(evolve_cart) == (Added, Closed)
