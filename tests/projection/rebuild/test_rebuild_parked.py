"""Parked streams and a rebuild: events received by the live generation are in the new one, applied or in a letter.

Events of the live read model are acknowledged, so nobody delivers them again; letters of the old generation go.
"""

from collections.abc import Callable

import pytest

from eventkit.config import Settings
from eventkit.projection.define.projection import Projection
from eventkit.projection.rebuild.progress import RebuildProgress
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from tests.projection.recorded import record
from tests.projection.shop import Ordered, apply, checkpoints, letters, message, orders, projector, rows, totals
from tests.projection.test_inline import forgiving

BAD = message("order-1", 1, Ordered("eve", -1))
Code = Callable[[], Projection]


@pytest.mark.parametrize(
    ("live", "new", "accept"),
    [
        pytest.param(totals, forgiving, False, id="parked live, and mended"),
        pytest.param(totals, totals, False, id="parked in both"),
        pytest.param(forgiving, totals, True, id="parked in the new one alone"),
    ],
)
def test_events_that_come_during_the_swap_are_not_lost(url: str, live: Code, new: Code, accept: bool) -> None:  # noqa: FBT001 a case
    """A redrive by handlers that take all of it makes the read model whole, though no event comes any more."""
    record(url, [BAD, *orders("order-1", 1, first=2)])
    apply(url, [BAD, *orders("order-1", 1, first=2)], projection=live())

    def meanwhile(progress: RebuildProgress) -> None:
        if progress.stage == "swap":
            record(url, orders("order-1", 1, first=3))
            apply(url, orders("order-1", 1, first=3), projection=live())

    RebuildRun(new(), Settings(database_url=url), RebuildPlan(accept_parked=accept), report=meanwhile).run()

    if new is totals:
        assert letters(url) == [("order-1", 1, "failed"), ("order-1", 2, "behind"), ("order-1", 3, "behind")]
    with projector(url, forgiving()) as running:
        if new is totals:
            running.redrives.retry("order-1")
        running.redrives.serve()
    assert rows(url) == [("ann", 2, 2), ("eve", 1, -1)]
    assert (checkpoints(url), letters(url)) == ({"order-1": (3, False)}, [])
