"""The projector is killed at each of its crash points; the next process makes the read model right.

A child process runs this module and patches the named step; nothing in the code knows of it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventkit.projection.apply.parking import LockedStream
from eventkit.projection.run.projector import Projector
from eventkit.projection.transaction import OwnTransaction
from tests.projection.shop import Given, Ordered, apply, checkpoints, letters, message, orders, projector, rows

ROOT = Path(__file__).parents[3]
BATCH = [*orders("order-1", 3), message("order-2", 1, Ordered("eve", -1)), *orders("order-2", 1, first=2)]


def test_applied_not_committed(url: str) -> None:
    """Killed before the commit: nothing has happened; delivered again, it is applied then."""
    _die(url, "applied_not_committed")
    assert (rows(url), checkpoints(url)) == ([], {})

    done = apply(url, BATCH)

    assert rows(url) == [("ann", 3, 3)]
    assert done.counters.duplicates == 0


def test_committed_not_acknowledged(url: str) -> None:
    """Killed after the commit: delivered again, all of it is a duplicate."""
    _die(url, "committed_not_acknowledged")
    assert rows(url) == [("ann", 3, 3)]

    done = apply(url, BATCH)

    assert rows(url) == [("ann", 3, 3)]
    assert (done.counters.applied, done.counters.duplicates) == (0, 5)
    assert letters(url) == [("order-2", 1, "failed"), ("order-2", 2, "behind")]


def test_parked_not_committed(url: str) -> None:
    """Killed while it parks: the others are applied, the failing event is delivered again and parked then."""
    _die(url, "parked_not_committed")
    assert (rows(url), letters(url)) == ([("ann", 3, 3)], [])

    apply(url, BATCH)

    assert rows(url) == [("ann", 3, 3)]
    assert letters(url) == [("order-2", 1, "failed"), ("order-2", 2, "behind")]


def _die(url: str, point: str) -> None:
    """Let a process apply the batch and die with -9 at a crash point."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.projection.apply.test_crash_points", url, point],
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert child.returncode == -9


def _kill_at(point: str, patch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), 9)

    if point == "applied_not_committed":
        check = OwnTransaction._check

        def die_when_applied(self: OwnTransaction) -> None:
            check(self)
            found = self.connection.execute("select count(*) from totals").fetchone()
            if found != (0,):
                die()

        patch.setattr(OwnTransaction, "_check", die_when_applied)
    elif point == "committed_not_acknowledged":
        patch.setattr(Given, "acknowledge", die)
    elif point == "parked_not_committed":
        patch.setattr(LockedStream, "move", die)


def _child(url: str, point: str) -> None:
    with pytest.MonkeyPatch.context() as patch, projector(url) as running:
        _kill_at(point, patch)
        _run(running)


def _run(running: Projector) -> None:
    running.step(Given(BATCH))


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2])
