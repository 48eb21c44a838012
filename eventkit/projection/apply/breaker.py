"""Breakers: while something that a handler calls is away, its events wait and one of them at a time is tried.

A breaker belongs to one handler in one process. It opens when the handler raises `TryLater`, an `OSError`, a
`TimeoutError` or what its projection names in `away=`. Then it lets one stream through now and then, each time
another one, with growing pauses. The first success closes it.

A stream that fails while others get through is itself at fault: that is counted, as attempts are.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from eventkit.errors import TryLater
from eventkit.projection.apply.error_class import said
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.define.dispatch import Handler, HandlerTable, handler_of

Kind = tuple[str, str]  # source and type of a handler's events

logger = logging.getLogger("eventkit.projection")

_FIRST, _LONGEST = 0.2, 10.0  # seconds between two tries
_REPEAT = 30.0  # seconds after which an open breaker is logged again


class Breaker(msgspec.Struct):
    """One handler's, while it is open."""

    handler: Handler
    reason: str
    opened: float  # on the monotonic clock, as `due`
    due: float = 0.0  # when the next stream is tried
    tries: int = 0
    told: bool = False


class Breakers:
    """The breakers of one projection in one process."""

    def __init__(self, projection: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed."""
        self._projection = projection
        self._clock = clock
        self._open: dict[Kind, Breaker] = {}
        self._told: dict[Kind, float] = {}  # when
        self._passed: dict[Kind, int] = {}  # how often a handler got through while it was tried

    def __bool__(self) -> bool:
        """Whether one is open."""
        return bool(self._open)

    def __iter__(self) -> Iterator[Breaker]:
        """Return those that are open."""
        return iter(self._open.values())

    def failed(self, error: Exception) -> Handler:
        """Open the breaker of the handler that has raised an error, or keep it open for longer."""
        handler = handler_of(error)
        assert handler is not None, "only what a handler raises is taken for this"  # noqa: S101
        now = self._clock()
        breaker = self._open.setdefault(handler.kind, Breaker(handler, "", now))
        breaker.reason = str(error) if isinstance(error, TryLater) else said(error)
        breaker.tries += 1
        breaker.due = now + _pause(error, breaker.tries)
        if now - self._told.get(handler.kind, -_REPEAT) >= _REPEAT:
            self._told[handler.kind], breaker.told = now, True
            self._tell(breaker, now)
        return handler

    def succeeded(self, handlers: HandlerTable, arrivals: Iterable[Arrival]) -> None:
        """Close the breakers of the handlers that have just taken events."""
        for arrival in arrivals:
            handler = handlers.of(arrival)
            breaker = self._open.pop(handler.kind, None) if handler else None
            if breaker is not None:
                kind = breaker.handler.kind
                self._passed[kind] = self.passed(kind) + 1
                seconds, name = self._clock() - breaker.opened, breaker.handler.name
                level = logging.INFO if breaker.told else logging.DEBUG
                logger.log(level, "%s: %s goes on, %.0f s, %d tries", self._projection, name, seconds, breaker.tries)

    def passed(self, kind: Kind) -> int:
        """Return how often a handler has got through after it had failed."""
        return self._passed.get(kind, 0)

    def is_due(self, kind: Kind) -> bool:
        """Whether a handler may be tried now."""
        breaker = self._open.get(kind)
        return breaker is None or breaker.due <= self._clock()

    def is_open(self, kind: Kind) -> bool:
        """Whether a handler's events wait."""
        return kind in self._open

    def split(self, run: Run, handlers: HandlerTable) -> tuple[Run | None, Run | None]:
        """Part a run before its first event that must wait."""
        for place, arrival in enumerate(run.arrivals):
            handler = handlers.of(arrival)
            if handler is not None and handler.kind in self._open:
                before = Run(run.stream, run.arrivals[:place], run.whole) if place else None
                return before, Run(run.stream, run.arrivals[place:], run.whole)
        return run, None

    def _tell(self, breaker: Breaker, now: float) -> None:
        logger.warning(
            "%s: events of type %s wait for what %s calls, %.0f s, %d tries: %s",
            self._projection,
            breaker.handler.type,
            breaker.handler.name,
            now - breaker.opened,
            breaker.tries,
            breaker.reason,
        )


def _pause(error: Exception, tries: int) -> float:
    if isinstance(error, TryLater):
        return error.seconds
    return min(_FIRST * float(2 ** min(tries - 1, 10)), _LONGEST) * random.uniform(0.5, 1.0)  # noqa: S311 jitter
