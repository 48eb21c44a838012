"""The event loop for the `async def` handlers of a process, on a thread of its own.

One loop serves the whole process, so all handlers may share clients that are bound to it, as HTTP sessions and pools.
It starts with the first call and ends with the process. Threads submit coroutines and wait for the results.
"""

import asyncio
import atexit
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from eventkit.errors import ProjectionError
from eventkit.forks import never_free, reset_in_fork

logger = logging.getLogger("eventkit.worker")

T = TypeVar("T")
_CHECK_INTERVAL = 0.2  # seconds between checks of the stop request, and of the loop itself
_STOP_GRACE = 1.5  # seconds until a call is cancelled after the stop request
_CANCEL_GRACE = 1.0  # seconds for a cancelled call to end
_BLOCKED_AFTER = 5.0  # seconds without an answer after which the loop counts as blocked
_BLOCKED_INTERVAL = 30.0  # seconds between two warnings
_CLOSE_GRACE = 0.5  # seconds for all tasks at the end of the process


class CallInterrupted(BaseException):
    """The process was stopped during a call; like CancelledError, it is not caught by `except Exception`."""


class EventLoop:
    """Safe to use by any number of threads."""

    def __init__(self) -> None:
        """Wait for the first call before starting the thread."""
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pinged_at: float | None = None  # time of a ping that the loop has not answered yet
        self._warned_at = -_BLOCKED_INTERVAL
        reset_in_fork(self)

    def forked(self) -> None:
        """Start a new loop in the child, with the next call."""
        if self._loop is not None:
            never_free(self._loop)  # it counts as running, and shares its files with the parent
        self._starting, self._loop, self._thread, self._pinged_at = threading.Lock(), None, None, None

    def run(self, work: Coroutine[Any, Any, T], *, interrupted: Callable[[], bool] = lambda: False) -> T:
        """Run a coroutine on the loop, wait for it, and return its result or raise its error.

        Raise CallInterrupted if the call was cancelled, a moment after `interrupted` became true. Raise ProjectionError
        if the caller runs on the loop itself, which must not wait.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise ProjectionError(
                "an `async def` handler calls a function that runs `async def` handlers and waits for them: call it "
                "with `await asyncio.to_thread(…)`"
            )
        call = _Call(self._started(), work)
        stopping: float | None = None
        while not call.wait(_CHECK_INTERVAL):
            self._check_alive()
            if stopping is None and interrupted():
                stopping = time.monotonic()
            if stopping is not None and time.monotonic() - stopping > _STOP_GRACE:
                call.cancel()
                call.wait(_CANCEL_GRACE)
                break
        return call.result()

    def close(self) -> None:
        """Cancel all tasks, and end the thread; a blocked loop ends with the process."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        _Call(loop, _cancel_all()).wait(_CLOSE_GRACE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_GRACE)
        if not thread.is_alive():
            loop.close()
            self._loop, self._thread = None, None
            atexit.unregister(self.close)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_forever, args=(self._loop,), name="eventkit event loop", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)
            return self._loop

    def _check_alive(self) -> None:
        """Warn of a handler that blocks the loop, and with it all `async def` handlers."""
        loop, now = self._loop, time.monotonic()
        if loop is None:
            return
        if self._pinged_at is None:
            self._pinged_at = now
            loop.call_soon_threadsafe(self._answer)
        elif now - self._pinged_at > _BLOCKED_AFTER and now - self._warned_at > _BLOCKED_INTERVAL:
            self._warned_at = now
            logger.warning(
                "the event loop of all `async def` handlers is blocked for %.0f s, at %s: make blocking calls with "
                "`await asyncio.to_thread(…)`",
                now - self._pinged_at,
                self._place(),
            )

    def _answer(self) -> None:
        self._pinged_at = None

    def _place(self) -> str:
        """Return the line that the loop's thread is executing."""
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread else None  # noqa: SLF001 documented
        if frame is None:
            return "an unknown place"
        summary = traceback.extract_stack(frame)[-1]
        return f"{summary.filename}:{summary.lineno}, in {summary.name}"


class _Call(Generic[T]):
    """A coroutine on the loop, for a caller on another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._done: Future[T] = Future()
        loop.call_soon_threadsafe(self._begin)

    def wait(self, seconds: float) -> bool:
        """Wait for its end up to `seconds`; return whether it came."""
        with suppress(TimeoutError):
            self._done.exception(seconds)
        return self._done.done()

    def cancel(self) -> None:
        """Request its cancellation."""
        self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> T:
        """Return its result; raise CallInterrupted if it was cancelled, or has not ended."""
        if not self._done.done():
            raise CallInterrupted
        return self._done.result()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        error = CallInterrupted() if task.cancelled() else task.exception()
        if error is not None:
            self._done.set_exception(error)
        else:
            self._done.set_result(task.result())


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.error("a task of a handler raised %s: only that task ends", type(error).__name__)  # noqa: TRY400 its traceback has no frame of eventkit
        else:
            return


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CLOSE_GRACE)
    await asyncio.get_running_loop().shutdown_asyncgens()


event_loop = EventLoop()  # of this process
