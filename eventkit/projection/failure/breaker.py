"""Circuit breakers: while a service that a handler calls is away, the handler's events wait, and single ones probe it.

A breaker belongs to one handler in one process. It opens after as many consecutive failures as the handler's policy
allows (`Retry`). Then it tries one stream at a time, each time another one, with growing pauses. The first success
closes it.

A stream that fails while others succeed is itself at fault; such failures are counted like attempts.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from eventkit.errors import TryLater
from eventkit.projection.batch import Arrival, Run
from eventkit.projection.dispatch import Handler, HandlerTable, handler_of
from eventkit.projection.failure.error_class import describe

Kind = tuple[str, str]  # source and type of a handler's events

logger = logging.getLogger("eventkit.projection")

_LOG_INTERVAL = 30.0  # seconds between two log lines of an open breaker


class Breaker(msgspec.Struct):
    """The breaker of one handler, from its first failure to its next success."""

    handler: Handler
    since: float  # on the monotonic clock, as `due`
    reason: str = ""  # quotes no event
    log_text: str = ""  # the message of a TryLater, else the reason
    due: float = 0.0  # time of the next probe
    tries: int = 0
    logged: bool = False

    @property
    def is_open(self) -> bool:
        """Whether all of the handler's events wait; before that, only single streams do."""
        return self.tries >= self.handler.retry.opens_after


class Breakers:
    """The breakers of one projection in one process."""

    def __init__(self, projection: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._projection = projection
        self._clock = clock
        self._failing: dict[Kind, Breaker] = {}
        self._logged: dict[Kind, float] = {}  # time of the last log line
        self._passed: dict[Kind, int] = {}  # how often a handler has succeeded after failures

    def __bool__(self) -> bool:
        """Whether any handler is failing."""
        return bool(self._failing)

    def __iter__(self) -> Iterator[Breaker]:
        """Iterate over the open breakers."""
        return (breaker for breaker in self._failing.values() if breaker.is_open)

    @property
    def failing(self) -> Iterable[Breaker]:
        """The breakers of all handlers that have failed since their last success, open or not."""
        return self._failing.values()

    def failed(self, error: Exception) -> Breaker:
        """Count a failure of the handler that raised an error; return its breaker."""
        handler = handler_of(error)
        assert handler is not None, "only errors of handlers are classified as AWAY"  # noqa: S101
        now = self._clock()
        breaker = self._failing.setdefault(handler.kind, Breaker(handler, now))
        breaker.reason = describe(error)
        breaker.log_text = str(error) if isinstance(error, TryLater) else breaker.reason
        breaker.tries += 1
        asked = error.seconds if isinstance(error, TryLater) else None
        probes = breaker.tries - handler.retry.opens_after + 1
        breaker.due = now + (handler.retry.probes.pause(max(probes, 1)) if asked is None else asked)
        if breaker.is_open and now - self._logged.get(handler.kind, -_LOG_INTERVAL) >= _LOG_INTERVAL:
            self._logged[handler.kind], breaker.logged = now, True
            self._log(breaker, now)
        return breaker

    def succeeded(self, handlers: HandlerTable, arrivals: Iterable[Arrival]) -> None:
        """Close the breakers of the handlers that have just processed these events."""
        for arrival in arrivals:
            handler = handlers.of(arrival)
            breaker = self._failing.pop(handler.kind, None) if handler else None
            if breaker is not None:
                kind = breaker.handler.kind
                self._passed[kind] = self.passed(kind) + 1
                seconds, name = self._clock() - breaker.since, breaker.handler.name
                level = logging.INFO if breaker.logged else logging.DEBUG
                logger.log(
                    level, "%s: %s continues after %.0f s and %d tries", self._projection, name, seconds, breaker.tries
                )

    def passed(self, kind: Kind) -> int:
        """Return how often a handler has succeeded after failures."""
        return self._passed.get(kind, 0)

    def is_due(self, kind: Kind) -> bool:
        """Whether a handler may be called now."""
        return not self.is_open(kind) or self._failing[kind].due <= self._clock()

    def is_open(self, kind: Kind) -> bool:
        """Whether a handler's events wait."""
        breaker = self._failing.get(kind)
        return breaker is not None and breaker.is_open

    def split(self, run: Run, handlers: HandlerTable) -> tuple[Run | None, Run | None]:
        """Split a run before its first event that must wait."""
        for place, arrival in enumerate(run.arrivals):
            handler = handlers.of(arrival)
            if handler is not None and self.is_open(handler.kind):
                before = Run(run.stream, run.arrivals[:place], run.whole) if place else None
                return before, Run(run.stream, run.arrivals[place:], run.whole)
        return run, None

    def _log(self, breaker: Breaker, now: float) -> None:
        logger.warning(
            "%s: events of type %s wait for a service that %s calls, for %.0f s and %d tries so far: %s",
            self._projection,
            breaker.handler.type,
            breaker.handler.name,
            now - breaker.since,
            breaker.tries,
            breaker.log_text,
        )
