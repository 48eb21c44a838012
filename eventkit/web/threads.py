"""The page's own threads: its screens wait for the database in them, and never in the threads of a mounting service."""

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

T = TypeVar("T")

_COUNT = 16  # more than the sessions: a few wait for a session, and the others answer


class Threads:
    """Runs functions that block, a limited number at once."""

    def __init__(self) -> None:
        self._limiters: RunVar[CapacityLimiter] = RunVar("eventkit web threads")  # one for each event loop

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 passed on
        """Return the result of a function that runs in a thread."""
        limiter = self._limiters.get(None)
        if limiter is None:
            limiter = CapacityLimiter(_COUNT)
            self._limiters.set(limiter)
        return await run_sync(function, *arguments, limiter=limiter)
