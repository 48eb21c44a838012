"""The event loop of a process: one for all threads, which nothing that a coroutine does can end."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventkit import event_loop as module
from eventkit.errors import ProjectionError
from eventkit.event_loop import CallInterrupted, EventLoop
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """A loop of the test's own."""
    loop = EventLoop()
    yield loop
    loop.close()


async def value(given: int) -> int:
    """Return the argument, a moment later."""
    await asyncio.sleep(0.001)
    return given


def test_threads_share_one_loop(loop: EventLoop) -> None:
    """Each gets the result of its own coroutine."""
    found, loops = dict[int, int](), set[int]()

    async def work(number: int) -> int:
        loops.add(id(asyncio.get_running_loop()))
        return await value(number)

    threads = [
        threading.Thread(target=lambda number=number: found.update({number: loop.run(work(number))}))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert found == {number: number for number in range(20)}
    assert len(loops) == 1


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("slow")], ids=["ValueError", "TimeoutError"])
def test_an_error_is_raised_in_the_waiting_thread(loop: EventLoop, error: Exception) -> None:
    """A TimeoutError too, which is no time limit of the loop's."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error), match=str(error)):
        loop.run(fail())


def test_an_interrupted_call_is_cancelled_and_may_clean_up(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a grace, in which it could have ended."""
    monkeypatch.setattr(module, "_STOP_GRACE", 0.1)
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    with pytest.raises(CallInterrupted):
        loop.run(work(), interrupted=lambda: True)

    assert ended.is_set()
    assert loop.run(value(1)) == 1


def test_a_blocked_loop_is_logged_with_its_place_and_does_not_delay_the_end(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The waiting thread detects it; a request to stop is followed."""
    monkeypatch.setattr(module, "_STOP_GRACE", 0.1)
    monkeypatch.setattr(module, "_CANCEL_GRACE", 0.1)
    monkeypatch.setattr(module, "_BLOCKED_AFTER", 0.1)
    free = threading.Event()

    async def block() -> None:
        free.wait(120)

    with caplog.at_level(logging.WARNING), pytest.raises(CallInterrupted):
        loop.run(block(), interrupted=lambda: "blocked" in caplog.text)
    free.set()

    assert "asyncio.to_thread" in caplog.text
    assert loop.run(value(2)) == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
def test_a_task_that_would_end_the_loop_ends_alone(
    loop: EventLoop, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The others continue."""

    async def leave() -> None:
        raise error

    async def work() -> int:
        task = asyncio.get_running_loop().create_task(leave())
        await asyncio.wait({task})
        task.exception()
        return await value(3)

    assert loop.run(work()) == 3
    assert type(error).__name__ in caplog.text


def test_a_call_from_the_loop_itself_is_refused(loop: EventLoop) -> None:
    """It would wait for itself."""

    async def work() -> None:
        loop.run(value(1))

    with pytest.raises(ProjectionError, match="to_thread"):
        loop.run(work())


def test_closing_cancels_running_calls_and_a_later_call_starts_again(loop: EventLoop) -> None:
    """Generators and tasks are ended, the thread too."""
    ended = list[str]()

    async def background() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("task")

    async def begin() -> None:
        tasks.add(asyncio.get_running_loop().create_task(background()))
        await asyncio.sleep(0)

    tasks = set[asyncio.Task[None]]()
    loop.run(begin())
    thread = next(thread for thread in threading.enumerate() if thread is loop._thread)
    loop.close()

    assert ended == ["task"]
    wait_until(lambda: not thread.is_alive(), timeout=60)
    assert loop.run(value(4)) == 4


def test_a_fork_begins_a_loop_of_its_own() -> None:
    """The parent's keeps running, and both processes end by themselves."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        cwd=ROOT, check=False, timeout=120, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def _main() -> None:
    loop = module.event_loop
    assert loop.run(value(1)) == 1
    child = os.fork()
    if child == 0:
        sys.exit(loop.run(value(0)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert loop.run(value(2)) == 2


if __name__ == "__main__":
    _main()
