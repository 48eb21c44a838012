"""Several processes may fold into one row, and a process that should be dead changes nothing."""

import pytest

from tests.projection.attack import attack
from tests.projection.shop import apply, orders, projector, rows


@pytest.mark.parametrize("seed", range(5))
def test_two_processes_on_shared_rows_with_deleting_handlers_lose_nothing(url: str, seed: int) -> None:
    """Rows fed by many streams are exact under rewinds, duplicates, zombies and batches cut anywhere."""
    assert attack(url, seed) == []


def test_a_zombies_batch_changes_nothing(url: str) -> None:
    """The compare-and-set on the version fences a process whose streams another one has taken over."""
    with projector(url) as zombie:
        zombie.apply(orders("order-1", 2))
        apply(url, orders("order-1", 5))

        zombie.apply(orders("order-1", 3, first=3))

    assert rows(url) == [("ann", 5, 5)]
    assert zombie.counters.duplicates == 3
