"""Calls of a projection's `async def` handlers: one after another on the process's event loop, each with a time limit.

The projector's thread waits for them, so its transaction is used by one thread at a time. A call is a task of its own:
it has its own context variables, and it can be cancelled. A handler that does not return in time is cancelled, and one
that does not end even then loses its connection.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from eventkit.errors import ProjectionError
from eventkit.event_loop import CallInterrupted, event_loop
from eventkit.projection.dispatch import Step, raised_by

CLEANUP = 5.0  # seconds that a cancelled handler has to end
KEEP_ALIVE = 1.0  # seconds of calls after which the session is used, so that it never looks idle for long

_SLICE = 1.0  # seconds; where the loop was blocked for longer, no more than that counts against a handler


class AsyncCall(NamedTuple):
    """A handler and what it is called with."""

    step: Step
    function: Callable[..., Any]  # `async def`
    arguments: Sequence[object]


class Lendable(Protocol):
    """The connection that the handlers use, if they use one."""

    async def lend(self) -> Callable[[], None]:
        """Let the next handler use it; return what a task calls first to be that handler."""

    async def take_back(self) -> str:
        """Let nobody use it; return what is wrong, where a statement is still running."""

    def abandon(self) -> None:
        """Close it: a handler that does not end may still use it."""


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
        """Give each call `timeout` seconds; `keep_alive` uses the session, `interrupted` is the request to stop."""
        self._session = session
        self._timeout = timeout
        self._keep_alive = keep_alive
        self._interrupted = interrupted

    def run(self, calls: Sequence[AsyncCall]) -> list[Any]:
        """Return what the handlers have returned; raise the first error, with the step that it comes from."""
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
        except CallInterrupted:  # a handler does not end, or blocks the loop: it must not go on in this transaction
            if self._session is not None:
                self._session.abandon()
            raise

    async def _some(self, calls: Sequence[AsyncCall]) -> "_Found":
        """Call as many as fit into a second or so."""
        clock = asyncio.get_running_loop().time
        began, results = clock(), list[Any]()
        for call in calls:
            try:
                results.append(await self._one(call))
            except Exception as error:  # noqa: BLE001 raised by the thread that waits
                raised_by(call.step, error)
                return _Found(results, error)
            except (SystemExit, KeyboardInterrupt, CallInterrupted) as error:  # would end the loop
                return _Found(results, error)
            if clock() - began > KEEP_ALIVE:
                break
        return _Found(results)

    async def _one(self, call: AsyncCall) -> Any:  # noqa: ANN401 the handler's
        own = call.step.handler.policy.timeout
        seconds = self._timeout if own is None else own
        begin = await self._session.lend() if self._session else _nothing
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
        wrong = await self._session.take_back() if self._session else ""
        result = _result(task, call.step.handler.name)
        if wrong:
            raise ProjectionError(f"{call.step.handler.name} returned while {wrong}: await the tasks that it starts")
        return result

    async def _cancel(self, task: "asyncio.Task[_Ended]") -> None:
        """Cancel a handler; where it does not end, or leaves a statement running, its connection is closed."""
        ended = await cancelled(task)
        if self._session is not None and (not ended or await self._session.take_back()):
            self._session.abandon()


class _Found(NamedTuple):
    """What some calls have come to."""

    results: list[Any]
    error: BaseException | None = None


class _Ended(NamedTuple):
    """What a handler has returned or raised."""

    result: Any
    error: BaseException | None = None


async def call_in_time(work: Coroutine[Any, Any, object], *, name: str, seconds: float) -> object:
    """Await a function of the user's that uses no connection of ours; TimeoutError where it takes too long."""
    task = asyncio.create_task(_caught(work, _nothing))
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
    """Cancel a task; return whether it has ended a moment later."""
    task.cancel()
    await asyncio.wait({task}, timeout=CLEANUP)
    return task.done()


async def _in_time(task: "asyncio.Task[Any]", seconds: float) -> bool:
    """Return whether a task ends in time; the time in which somebody blocks the loop does not count."""
    left = seconds
    while left > 0 and not task.done():
        part = min(left, _SLICE)
        await asyncio.wait({task}, timeout=part)
        left -= part
    return task.done()


async def _caught(work: Coroutine[Any, Any, object], begin: Callable[[], None]) -> _Ended:
    """Await a handler; what would end the loop is kept for the thread that waits."""
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


def _nothing() -> None:
    pass
