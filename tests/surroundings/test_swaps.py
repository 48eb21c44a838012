"""A rebuild whose swap can never succeed ends with the reason; it does not try forever."""

from collections.abc import Callable

import pytest

from eventkit.config import Settings
from eventkit.errors import RebuildRefused
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from tests.projection.shop import orders, rows, store, totals
from tests.surroundings.rig import COUNTED, execute, found, order, projected

# Each stands against the rows of the rebuild: ann's row alone, with 3 orders.
_GONE = ("insert into totals values ('gone', 1, 1)", "create table notes (customer text references totals {})")
AGAINST = {
    "a foreign key to a row that goes": [each.format("") for each in _GONE],
    "a deferred one": [each.format("deferrable initially deferred") for each in _GONE],
}


def past_the_streams(url: str, category: str, *numbers: int, customer: str = "ann") -> None:
    """Write events that a rebuild finds at the end alone: no row of their streams is there."""
    store(url, [each for number in numbers for each in orders(f"{category}-{number}", 1, customer=customer)])


@pytest.mark.parametrize("against", AGAINST)
@pytest.mark.parametrize("merge", [False, True], ids=["by name", "merged"])
def test_a_swap_that_can_never_succeed_ends_with_the_reason(url: str, against: str, *, merge: bool) -> None:
    """The live read model stays as it was, and so do the tables of the rebuild."""
    store(url, orders("order-1", 3))
    projected(url, None, totals())
    execute(url, *AGAINST[against], "insert into notes values ('gone')")
    before = rows(url)

    with pytest.raises(RebuildRefused, match=r"violates foreign key constraint .*--resume"):
        RebuildRun(totals(), Settings(database_url=url), RebuildPlan(merge=merge)).run()

    assert rows(url) == before
    assert found(url, "select name from eventkit.rebuilds") == [("totals",)]


def test_a_foreign_key_of_the_live_table_that_the_rows_break_ends_it(url: str) -> None:
    """It is moved to the new table, whose rows break it."""
    store(url, orders("order-1", 3))
    projected(url, None, totals())
    execute(
        url,
        "create table customers (name text primary key)",
        "truncate totals",
        "alter table totals add constraint known foreign key (customer) references customers",
    )

    with pytest.raises(RebuildRefused, match="violates foreign key constraint"):
        RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()


@pytest.mark.parametrize("read", [order, past_the_streams], ids=["fed before", "in the swap"])
def test_a_unique_key_that_the_rows_break_ends_it(url: str, read: Callable[..., None]) -> None:
    """Rows that exchange the values of a unique column pass each other in no order; nor do new ones of one value."""
    read(url, "order", 1, 2, 3)
    read(url, "order", 4, 5, customer="bob")
    projected(url, None, totals())
    execute(
        url,
        "update totals set orders = 9 where customer = 'ann'",
        "update totals set orders = 3 where customer = 'bob'",
        "update totals set orders = 2 where customer = 'ann'",
        "alter table totals add unique (orders)",
    )

    with pytest.raises(RebuildRefused, match="totals_orders_key"):
        RebuildRun(totals(), Settings(database_url=url), RebuildPlan(merge=True)).run()

    assert rows(url, COUNTED) == [("ann", 2), ("bob", 3)]
