"""Given, when, then: tests of aggregates, projections, handlers and process managers, written as events.

    from eventkit.testing import given

    def test_a_closed_order_takes_nothing() -> None:
        given(Order, Closed()).when(Order.add, "cake").then_raises(OrderClosed)

Aggregates need no database. Projections, handlers and process managers run SQL, so they are tested on a real
PostgreSQL, in the database of the fixture `eventkit_database`. The fixtures come with the installed package
(eventkit/testing/plugin.py). A failing test shows the expected and the actual events side by side.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventkit.testing.databases import Databases
    from eventkit.testing.feed import at
    from eventkit.testing.given import given

__all__ = ["Databases", "at", "given"]

_AT_FIRST_USE = {  # pytest loads the plugin in every run, so imports wait for the first use
    "Databases": "eventkit.testing.databases",
    "at": "eventkit.testing.feed",
    "given": "eventkit.testing.given",
}


def __getattr__(name: str) -> Any:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'eventkit.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_AT_FIRST_USE[name]), name)
    return value
