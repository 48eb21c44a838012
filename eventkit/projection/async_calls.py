"""Calls a projection's `async def` handlers one after another on the process's event loop, each with a time limit.

The projector's thread waits for the calls, so one thread at a time uses its transaction. Each call is a task with its
own context variables. A handler that does not return in time is cancelled; if it does not end then, its connection is
closed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from eventkit.errors import ProjectionError
from eventkit.event_loop import CallInterrupted, event_loop
from eventkit.projection.dispatch import Step, raised_by

CLEANUP = 5.0  # seconds for a cancelled handler to end
KEEP_ALIVE = 1.0  # seconds of calls after which a statement runs, so that the session is never idle for long

_SLICE = 1.0  # seconds; a longer block of the event loop counts as this much of a handler's time


class AsyncCall(NamedTuple):
    """A handler and its arguments."""

    step: Step
    function: Callable[..., Any]  # `async def`
    arguments: Sequence[object]


class Lendable(Protocol):
    """A connection that one handler at a time may use."""

    async def lend(self) -> Callable[[], None]:
        """Lend the connection to the next handler; return a function that the handler's task calls first."""

    async def take_back(self) -> str:
        """End the loan; return a description of a statement that is still running, or an empty text."""

    def abandon(self) -> None:
        """Close the connection of a handler that does not end."""


class AsyncCalls:
    """Calls the handlers of one connection of a projector."""

    def __init__(
        self,
        session: Lendable | None,
        *,
        timeout: float,
        keep_alive: Callable[[], object],
        interrupted: Callable[[], bool],
    ) -> None:
        """Give each call `timeout` seconds; `keep_alive` runs a statement, `interrupted` says whether to stop."""
        self._session = session
        self._timeout = timeout
        self._keep_alive = keep_alive
        self._interrupted = interrupted

    def run(self, calls: Sequence[AsyncCall]) -> list[Any]:
        """Return the handlers' results; raise the first error, marked with its step."""
        results: list[Any] = []
        while len(results) < len(calls):
            if results:
                self._keep_alive()
            found = self._wait_for(calls[len(results) :])
            results += found.results
            if found.error is not None:
                raise found.error
        return results

    def _wait_for(self, calls: Sequence[AsyncCall]) -> "_Found":
        try:
            return event_loop.run(self._some(calls), interrupted=self._interrupted)
        except CallInterrupted:  # a handler does not end, or blocks the loop: it must not use this transaction any more
            if self._session is not None:
                self._session.abandon()
            raise

    async def _some(self, calls: Sequence[AsyncCall]) -> "_Found":
        """Call handlers for about a second."""
        clock = asyncio.get_running_loop().time
        began, results = clock(), list[Any]()
        for call in calls:
            try:
                results.append(await self._one(call))
            except Exception as error:  # noqa: BLE001 raised by the waiting thread
                raised_by(call.step, error)
                return _Found(results, error)
            except (SystemExit, KeyboardInterrupt, CallInterrupted) as error:  # would end the event loop
                return _Found(results, error)
            if clock() - began > KEEP_ALIVE:
                break
        return _Found(results)

    async def _one(self, call: AsyncCall) -> Any:  # noqa: ANN401 the handler's
        own = call.step.handler.policy.timeout
        seconds = self._timeout if own is None else own
        begin = await self._session.lend() if self._session else _do_nothing
        task = asyncio.create_task(_caught(call.function(*call.arguments), begin))
        try:
            ended = await _in_time(task, seconds)
        except asyncio.CancelledError:  # the process was asked to stop
            await self._cancel(task)
            raise CallInterrupted from None
        if not ended:
            await self._cancel(task)
            raise TimeoutError(
                f"{call.step.handler.name} did not return within {seconds:g} s and was cancelled; timeout= "
                "gives it more"
            )
        running = await self._session.take_back() if self._session else ""
        result = _result(task, call.step.handler.name)
        if running:
            raise ProjectionError(f"{call.step.handler.name} returned while {running}: await the tasks that it starts")
        return result

    async def _cancel(self, task: "asyncio.Task[_Ended]") -> None:
        """Cancel a handler; close the connection if the handler does not end or leaves a statement running."""
        ended = await cancelled(task)
        if self._session is not None and (not ended or await self._session.take_back()):
            self._session.abandon()


class _Found(NamedTuple):
    """The results of some calls, and the error that ended them."""

    results: list[Any]
    error: BaseException | None = None


class _Ended(NamedTuple):
    """The result of a handler, or its error."""

    result: Any
    error: BaseException | None = None


async def call_in_time(work: Coroutine[Any, Any, object], *, name: str, seconds: float) -> object:
    """Await a service's function that uses no connection of eventkit; raise TimeoutError after `seconds`."""
    task = asyncio.create_task(_caught(work, _do_nothing))
    try:
        ended = await _in_time(task, seconds)
    except asyncio.CancelledError:
        await cancelled(task)
        raise
    if not ended:
        await cancelled(task)
        raise TimeoutError(f"{name} did not return within {seconds:g} s and was cancelled")
    return _result(task, name)


async def cancelled(task: "asyncio.Task[Any]") -> bool:
    """Cancel a task; return whether it has ended within the cleanup time."""
    task.cancel()
    await asyncio.wait({task}, timeout=CLEANUP)
    return task.done()


async def _in_time(task: "asyncio.Task[Any]", seconds: float) -> bool:
    """Return whether a task ends in time; time in which another task blocks the loop hardly counts."""
    left = seconds
    while left > 0 and not task.done():
        part = min(left, _SLICE)
        await asyncio.wait({task}, timeout=part)
        left -= part
    return task.done()


async def _caught(work: Coroutine[Any, Any, object], begin: Callable[[], None]) -> _Ended:
    """Await a handler; return errors that would end the event loop to the waiting thread."""
    begin()
    try:
        return _Ended(await work)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 raised by `_result`
        return _Ended(None, error)


def _result(task: "asyncio.Task[_Ended]", name: str) -> object:
    if task.cancelled():
        raise ProjectionError(f"{name} was cancelled by its own code: it has awaited a task that was cancelled")
    ended = task.result()
    if ended.error is not None:
        raise ended.error
    return ended.result


def _do_nothing() -> None:
    pass
