"""Liveness: a loop that waits for something named is live, one that is stuck is not."""

import os
import threading
from collections.abc import Iterator

import pytest

from eventkit.observability import liveness
from eventkit.observability.liveness import LoopReport, loop, waiting_for


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The monotonic clock as liveness reads it: a list with the time."""
    now = [1000.0]
    monkeypatch.setattr("eventkit.observability.liveness.monotonic", lambda: now[0])
    yield now
    assert liveness.report() == [], "the loops have ended"


def only() -> LoopReport:
    """Return the state of the one loop."""
    (found,) = liveness.report()
    return found


def test_a_loop_is_stuck_outside_of_any_wait(clock: list[float]) -> None:
    """Thirty seconds of work without a wait are live, longer is stuck."""
    with loop("relay"):
        clock[0] += liveness.WORK_LIMIT
        assert not only().is_stuck
        clock[0] += 0.1
        assert only().is_stuck
        assert only().waits_for == "its own work"


def test_a_wait_without_a_limit_is_never_stuck(clock: list[float]) -> None:
    """A loop may wait for a database for ever."""
    with loop("relay"), waiting_for("the database"):
        clock[0] += 1e9
        assert not only().is_stuck
        assert only() == ("relay", "the database", 1e9, None)


def test_a_wait_is_stuck_past_its_limit(clock: list[float]) -> None:
    """A handler with a limit of two seconds is stuck after them."""
    with loop("projector"), waiting_for("a handler", seconds=2.0):
        clock[0] += 2.0
        assert not only().is_stuck
        clock[0] += 0.1
        assert only().is_stuck


def test_the_end_of_an_inner_wait_begins_the_limit_of_the_outer_one_anew(clock: list[float]) -> None:
    """The limit counts between two statements of a handler, and a hung statement is the database's fault."""
    with loop("projector"), waiting_for("a handler", seconds=2.0):
        clock[0] += 1.5
        with waiting_for("the database"):
            clock[0] += 3600
            assert not only().is_stuck
        clock[0] += 1.9
        assert not only().is_stuck
        clock[0] += 0.2
        assert only().is_stuck


def test_work_after_a_long_wait_has_its_whole_limit(clock: list[float]) -> None:
    """The time of a wait, also of one that ended with an error, does not count as work."""

    def lose() -> None:
        with waiting_for("the database"):
            clock[0] += 3600
            raise OSError("gone")

    with loop("relay"):
        with pytest.raises(OSError, match="gone"):
            lose()
        clock[0] += 29
        assert not only().is_stuck


def test_a_thread_without_a_loop_notes_nothing(clock: list[float]) -> None:
    """A service's thread that uses the same code is not watched."""
    with waiting_for("the database"):
        clock[0] += 3600
        assert liveness.report() == []


def test_each_thread_has_its_own_loop() -> None:
    """A stuck thread is found beside one that moves."""
    entered, end = threading.Event(), threading.Event()

    def other() -> None:
        with loop("settlement"), waiting_for("acknowledgements"):
            entered.set()
            end.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(60)
    with loop("relay"):
        found = [(each.loop, each.waits_for) for each in liveness.report()]
    end.set()
    thread.join(60)

    assert found == [("relay", "its own work"), ("settlement", "acknowledgements")]


def test_a_loop_inside_a_loop_gives_the_thread_back() -> None:
    """After an inner loop the outer one notes its waits again."""
    with loop("outer"):
        with loop("inner"):
            assert [each.loop for each in liveness.report()] == ["inner", "outer"]
        with waiting_for("the broker"):
            assert [(each.loop, each.waits_for) for each in liveness.report()] == [("outer", "the broker")]


def test_a_forked_child_watches_no_loop_of_its_parent() -> None:
    """The threads of the parent do not exist in the child: it is not stuck for them."""
    with loop("relay"):
        child = os.fork()
        if not child:
            os._exit(len(liveness.report()))
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
