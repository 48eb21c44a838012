"""Breakers: while something that a handler calls is away, its events wait and one of them at a time is tried.

A breaker belongs to one handler in one process. It opens when the handler has failed in a row, as often as its policy
says, with errors that it waits for (`Retry`). Then it lets one stream through now and then, each time another one, with
growing pauses. The first success closes it.

A stream that fails while others get through is itself at fault: that is counted, as attempts are.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from eventkit.errors import TryLater
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.dispatch import Handler, HandlerTable, handler_of
from eventkit.projection.failure.error_class import said

Kind = tuple[str, str]  # source and type of a handler's events

logger = logging.getLogger("eventkit.projection")

_REPEAT = 30.0  # seconds after which an open breaker is logged again


class Breaker(msgspec.Struct):
    """One handler's, from its first failure to its next success."""

    handler: Handler
    since: float  # on the monotonic clock, as `due`
    reason: str = ""  # may be shown anywhere
    words: str = ""  # those of TryLater, too: for the log
    due: float = 0.0  # when the next stream is tried
    tries: int = 0
    told: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the handler's events wait; else single streams do."""
        return self.tries >= self.handler.retry.opens_after


class Breakers:
    """The breakers of one projection in one process."""

    def __init__(self, projection: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed."""
        self._projection = projection
        self._clock = clock
        self._failing: dict[Kind, Breaker] = {}
        self._told: dict[Kind, float] = {}  # when
        self._passed: dict[Kind, int] = {}  # how often a handler got through after it had failed

    def __bool__(self) -> bool:
        """Whether a handler fails."""
        return bool(self._failing)

    def __iter__(self) -> Iterator[Breaker]:
        """Return those that are open."""
        return (breaker for breaker in self._failing.values() if breaker.is_open)

    @property
    def failing(self) -> Iterable[Breaker]:
        """Those of handlers that have failed since their last success, open or not."""
        return self._failing.values()

    def failed(self, error: Exception) -> Breaker:
        """Count a failure of the handler that has raised an error; return its breaker, which may be open now."""
        handler = handler_of(error)
        assert handler is not None, "only what a handler raises is taken for this"  # noqa: S101
        now = self._clock()
        breaker = self._failing.setdefault(handler.kind, Breaker(handler, now))
        breaker.reason = said(error)
        breaker.words = str(error) if isinstance(error, TryLater) else breaker.reason
        breaker.tries += 1
        asked = error.seconds if isinstance(error, TryLater) else None
        probes = breaker.tries - handler.retry.opens_after + 1
        breaker.due = now + (handler.retry.probes.pause(max(probes, 1)) if asked is None else asked)
        if breaker.is_open and now - self._told.get(handler.kind, -_REPEAT) >= _REPEAT:
            self._told[handler.kind], breaker.told = now, True
            self._tell(breaker, now)
        return breaker

    def succeeded(self, handlers: HandlerTable, arrivals: Iterable[Arrival]) -> None:
        """Close the breakers of the handlers that have just taken events."""
        for arrival in arrivals:
            handler = handlers.of(arrival)
            breaker = self._failing.pop(handler.kind, None) if handler else None
            if breaker is not None:
                kind = breaker.handler.kind
                self._passed[kind] = self.passed(kind) + 1
                seconds, name = self._clock() - breaker.since, breaker.handler.name
                level = logging.INFO if breaker.told else logging.DEBUG
                logger.log(level, "%s: %s goes on, %.0f s, %d tries", self._projection, name, seconds, breaker.tries)

    def passed(self, kind: Kind) -> int:
        """Return how often a handler has got through after it had failed."""
        return self._passed.get(kind, 0)

    def is_due(self, kind: Kind) -> bool:
        """Whether a handler may be tried now."""
        return not self.is_open(kind) or self._failing[kind].due <= self._clock()

    def is_open(self, kind: Kind) -> bool:
        """Whether a handler's events wait."""
        breaker = self._failing.get(kind)
        return breaker is not None and breaker.is_open

    def split(self, run: Run, handlers: HandlerTable) -> tuple[Run | None, Run | None]:
        """Part a run before its first event that must wait."""
        for place, arrival in enumerate(run.arrivals):
            handler = handlers.of(arrival)
            if handler is not None and self.is_open(handler.kind):
                before = Run(run.stream, run.arrivals[:place], run.whole) if place else None
                return before, Run(run.stream, run.arrivals[place:], run.whole)
        return run, None

    def _tell(self, breaker: Breaker, now: float) -> None:
        logger.warning(
            "%s: events of type %s wait for what %s calls, %.0f s, %d tries: %s",
            self._projection,
            breaker.handler.type,
            breaker.handler.name,
            now - breaker.since,
            breaker.tries,
            breaker.words,
        )
