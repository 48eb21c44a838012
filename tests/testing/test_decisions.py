"""Scenarios of aggregates: a correct one passes in silence, a failing one gives its reason."""

from dataclasses import dataclass

import pytest

from eventkit import Aggregate, evolve
from eventkit.testing import given
from tests.aggregates.shop import Add, Added, Cart, Close, Closed, Order, OrderClosed, Viewed, cart


def test_a_class_is_tested_by_its_methods() -> None:
    """`when` takes a method and its arguments."""
    given(Order).when(Order.add, "tea", count=2).then(Added("tea", 2)).then_state(Order({"tea": 2}))
    given(Order, Added("tea"), Viewed()).when(Order.close).then(Closed())
    given(Order, Closed()).when(Order.close).then_nothing()
    given(Order, Closed()).when(Order.add, "tea").then_raises(OrderClosed)


def test_a_decider_is_tested_by_commands() -> None:
    """`when` takes one command, or several."""
    given(cart).when(Add("tea"), Close()).then(Added("tea"), Closed()).then_state(Cart(("tea",), closed=True))
    given(cart, Closed()).when(Close()).then_nothing()
    given(cart, Closed()).when(Add("tea")).then_raises(OrderClosed, "^tea$")


def test_the_state_can_be_looked_at() -> None:
    """Before and without a decision."""
    assert given(Order, Added("tea"), Added("tea")).state.items == {"tea": 2}
    assert given(cart, Added("tea")).state == Cart(("tea",))


def test_other_events_are_shown_beside_the_expected_ones() -> None:
    """The failure shows the story, and marks the difference."""
    scenario = given(Order, Added("tea")).when(Order.add, "cake", count=2)

    with pytest.raises(AssertionError) as caught:
        scenario.then(Added("cake", 3), Closed())

    assert str(caught.value).splitlines() == [
        "",
        "given Order",
        "    Added(item='tea', count=1)",
        "when",
        "    Order.add('cake', count=2)",
        "",
        "the recorded events differ:",
        "  expected                                                 actual",
        f"  {'-' * 54}   {'-' * 54}",
        "  Added(item='cake', count=3)                            | Added(item='cake', count=2)",
        "  Closed()                                               <",
    ]


def test_an_error_where_events_were_expected_is_the_cause() -> None:
    """Its traceback is there, and so are the expected events."""
    scenario = given(cart, Closed()).when(Add("tea"))

    with pytest.raises(AssertionError, match=r"it raised\n    OrderClosed\('tea'\)\nexpected was\n    Added") as caught:
        scenario.then(Added("tea"))
    with pytest.raises(AssertionError, match="it raised"):
        scenario.then_state(Cart())

    assert isinstance(caught.value.__cause__, OrderClosed)


def test_a_missing_or_another_error_is_shown() -> None:
    """The actual result is in the failure."""
    with pytest.raises(
        AssertionError, match=r"OrderClosed was expected, but nothing .*\n    Added\(item='tea', count=1\)"
    ):
        given(Order).when(Order.add, "tea").then_raises(OrderClosed)
    with pytest.raises(AssertionError, match=r"KeyError was expected, but it raised\n    OrderClosed"):
        given(Order, Closed()).when(Order.add, "tea").then_raises(KeyError)
    with pytest.raises(AssertionError, match="OrderClosed with a message like 'cake' was expected"):
        given(cart, Closed()).when(Add("tea")).then_raises(OrderClosed, "cake")


def test_an_unexpected_event_is_shown() -> None:
    """The other column is empty."""
    with pytest.raises(AssertionError, match=r"\(nothing\) +\| Closed\(\)"):
        given(Order).when(Order.close).then_nothing()


def test_another_state_is_shown() -> None:
    """Side by side."""
    with pytest.raises(AssertionError, match=r"the states differ:(.|\n)*items=\{'cake': 1\}.*\| .*items=\{'tea': 1\}"):
        given(Order, Added("tea")).then_state(Order({"cake": 1}))


def test_a_state_changed_without_an_event_is_caught() -> None:
    """A method that sets a field itself would be believed by nobody who loads the aggregate."""

    @dataclass
    class Careless(Aggregate):
        items: int = 0

        def add(self) -> None:
            self.items += 1
            self.record(Added("tea"))

        @evolve
        def _added(self, _: Added) -> None:
            self.items += 1

    with pytest.raises(AssertionError, match=r"the fold of its events differ:(.|\n)*'items': 1.*\|.*'items': 2"):
        given(Careless).when(Careless.add).then(Added("tea"))
