"""Several processes may fold into one row, and a process that should be dead changes nothing."""

import pytest
from sqlalchemy import Table

from eventkit.projection.define.table import TableProjection
from tests.projection.attack import attack
from tests.projection.shop import (
    KNOWN,
    TOTALS,
    Left,
    Ordered,
    Total,
    apply,
    checkpoints,
    message,
    orders,
    projector,
    rows,
    shop,
)


@pytest.mark.parametrize("table", [TOTALS, KNOWN], ids=["new rows created first", "new rows written once"])
@pytest.mark.parametrize("seed", range(5))
def test_two_processes_on_shared_rows_with_deleting_handlers_lose_nothing(url: str, seed: int, table: Table) -> None:
    """Rows fed by many streams are exact under rewinds, duplicates, zombies and batches cut anywhere."""
    assert attack(url, seed, table) == []


def test_a_row_that_another_process_creates_meanwhile_is_folded_again_on_it(url: str) -> None:
    """The fold from the defaults is void; nothing of either process is lost, and no handler's effect counts twice."""
    meanwhile = [orders("order-2", 3)]
    projection = sums()

    @projection.on(Left)
    def left(_row: Total, _event: Left) -> None:
        if meanwhile:  # this batch has found no row
            apply(url, meanwhile.pop(), projection=sums())

    apply(url, [*orders("order-1", 2), message("order-1", 3, Left("ann"))], projection=projection)

    assert rows(url) == [("ann", 5, 5)]
    assert checkpoints(url) == {"order-1": (3, False), "order-2": (3, False)}


def sums() -> TableProjection:
    """Return sums by customer in a table whose new rows are known."""
    projection = TableProjection("sums", shop, table=KNOWN, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.orders += 1
        row.amount += event.amount

    return projection


def test_a_zombies_batch_changes_nothing(url: str) -> None:
    """The compare-and-set on the version fences a process whose streams another one has taken over."""
    with projector(url) as zombie:
        zombie.apply(orders("order-1", 2))
        apply(url, orders("order-1", 5))

        zombie.apply(orders("order-1", 3, first=3))

    assert rows(url) == [("ann", 5, 5)]
    assert zombie.counters.duplicates == 3
