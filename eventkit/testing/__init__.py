"""Given, when, then: tests of aggregates, projections, handlers and process managers in the words of events.

    from eventkit.testing import given

    def test_a_closed_order_takes_nothing() -> None:
        given(Order, Closed()).when(Order.add, "cake").then_raises(OrderClosed)

Aggregates need nothing but Python. Projections, handlers and process managers run on a real PostgreSQL, in the database
that the fixture `eventkit_database` makes for the test: what they do is SQL, and no imitation of it would say much. The
fixtures come with the installed package (eventkit/testing/plugin.py). A test that fails shows what was expected beside
what happened.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventkit.testing.databases import Databases
    from eventkit.testing.feed import at
    from eventkit.testing.given import given

__all__ = ["Databases", "at", "given"]

_AT_FIRST_USE = {  # the plugin is loaded in every run of pytest, also where nobody asks for it
    "Databases": "eventkit.testing.databases",
    "at": "eventkit.testing.feed",
    "given": "eventkit.testing.given",
}


def __getattr__(name: str) -> Any:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'eventkit.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_AT_FIRST_USE[name]), name)
    return value
