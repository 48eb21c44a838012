"""A rebuild is killed at each of its crash points; the next one ends right, and readers never notice.

A child process runs this module and patches the named step; nothing in the code knows of it.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventkit.config import Settings
from eventkit.projection.rebuild import rebuild as rebuilding
from eventkit.projection.rebuild import swap as swapping
from eventkit.projection.rebuild.memory import MemoryShare
from eventkit.projection.rebuild.progress import ProgressReporter
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.rebuild.shadow import ShadowBuild
from eventkit.projection.rebuild.swap import Swap
from tests.projection.recorded import record
from tests.projection.shop import apply, checkpoints, orders, projector, rows, totals

ROOT = Path(__file__).parents[3]
BEFORE = [("ann", 3, 3)]  # the live rows: the store has one more event, and another comes
AFTER = [("ann", 5, 5)]


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), 9)


def _after(cls: type, name: str, patch: pytest.MonkeyPatch) -> None:
    """Die when a method has done its work."""
    real: Callable[..., Any] = getattr(cls, name)

    def die(*given: Any, **named: Any) -> None:  # noqa: ANN401 any arguments
        real(*given, **named)
        _die()

    patch.setattr(cls, name, die)


def _at_count(patch: pytest.MonkeyPatch) -> None:
    """Die after the first transaction of the feeding."""
    patch.setattr(rebuilding, "shares", lambda _, workers: (workers, MemoryShare(events=2)))
    patch.setattr(ProgressReporter, "count", _die)


POINTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "begun_nothing_fed": lambda patch: patch.setattr(rebuilding, "read_horizon", _die),
    "fed_in_part_not_all": _at_count,
    "fed_not_swapped": lambda patch: patch.setattr(RebuildRun, "_swap", _die),
    "locked_not_compared": lambda patch: patch.setattr(Swap, "_catch_up", _die),
    "caught_up_not_renamed": lambda patch: patch.setattr(Swap, "_exchange", _die),
    "handed_over_not_renamed": lambda patch: _after(Swap, "_hand_over", patch),
    "renamed_not_committed": lambda patch: _after(Swap, "_exchange", patch),
    "merged_not_committed": lambda patch: patch.setattr(swapping, "drop_shadow", _die),
    "swapped_not_cleaned": lambda patch: patch.setattr(ShadowBuild, "clean", _die),
}


RESUMED = ("fed_in_part_not_all", "fed_not_swapped", "swapped_not_cleaned")


@pytest.mark.parametrize(
    ("point", "resume"), [*((name, False) for name in POINTS), *((name, True) for name in RESUMED)]
)
def test_killed_at_a_crash_point_the_next_rebuild_ends_right(url: str, point: str, *, resume: bool) -> None:
    """Until the swap's commit the live read model is as it was, then it is the new one; nothing is left in the end."""
    record(url, orders("order-1", 3), orders("order-2", 1))
    apply(url, orders("order-1", 3))

    _run(url, point)
    assert rows(url) == ([("ann", 4, 4)] if point == "swapped_not_cleaned" else BEFORE)
    record(url, orders("order-2", 1, first=2))
    RebuildRun(totals(), Settings(database_url=url), RebuildPlan(resume=resume, merge=_merges(point))).run()

    assert rows(url) == AFTER
    assert checkpoints(url) == {"order-1": (3, False), "order-2": (2, False)}
    assert _leftovers(url) == [(1,)]
    with projector(url) as running:
        running.apply([*orders("order-1", 4), *orders("order-2", 2)])
    assert rows(url) == [("ann", 6, 6)]


def _merges(point: str) -> bool:
    return point.startswith("merged")


def _run(url: str, point: str) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.projection.rebuild.test_rebuild_crash_points", url, point],
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert child.returncode == -9


def _leftovers(url: str) -> list[tuple[Any, ...]]:
    """Return how many generations there are traces of."""
    return rows(
        url,
        """select count(distinct n) from (select generation::text as n from eventkit.checkpoints
           union all select name from eventkit.rebuilds
           union all select nspname from pg_namespace where nspname like '%rebuild%') found""",
    )


def _child(url: str, point: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        POINTS[point](patch)
        RebuildRun(totals(), Settings(database_url=url), RebuildPlan(merge=_merges(point))).run()


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2])
