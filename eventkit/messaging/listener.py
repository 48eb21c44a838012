"""Broadcasts: functions that every running instance calls for what is sent while it runs; cached values, settings.

Nothing is kept for an instance that is not there, or whose broker is away: it is told afterwards that it may have
missed something. A function that fails is logged, and the next message comes.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from eventkit.domain.catalog import Catalog
from eventkit.domain.functions import is_asynchronous
from eventkit.domain.message import Message
from eventkit.errors import EventkitError, ProjectionError
from eventkit.event_loop import CallInterrupted, event_loop
from eventkit.forks import tell_in_fork
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.observability.rarely import Rarely
from eventkit.projection.async_calls import call_in_time
from eventkit.projection.batch import Arrival, gather
from eventkit.projection.define import F
from eventkit.projection.dispatch import HandlerTable, Step, check_function, check_ran, takes_envelope
from eventkit.projection.failure import describe
from eventkit.transports.base import Transport

logger = logging.getLogger("eventkit.messaging")


_TIMEOUT = 60.0  # seconds for an `async def` function


class Listener:
    """The functions of one process.

    prices = Listener(transport, shop, categories=["price"])

    @prices.on(PriceChanged)
    def changed(event: PriceChanged) -> None:
        cache.pop(event.article, None)

    prices.on_missed(cache.clear)
    prices.start()

    Functions may be `async def`: they run on an event loop of eventkit's own, not on the caller's.
    """

    def __init__(
        self, transport: Transport, catalog: Catalog, *, categories: Sequence[str], concurrency: int = 4
    ) -> None:
        """Declare it; it hears the topics of some categories, what is broadcast there and what the relay sends.

        `concurrency` is how many `async def` functions run at a time; the events of one stream are given in order.
        """
        self._transport = transport
        self._topics = catalog.topics_of(categories)
        self._handlers = HandlerTable("listener", catalog)
        self.malformed = 0  # messages that were no events
        self._told, self._passed = Rarely(logger), Rarely(logger)
        self._missed: Callable[[], object] = lambda: None
        self._listening: ListenerThread | None = None
        self._closing = False
        self._concurrency = concurrency
        tell_in_fork(self)
        if concurrency < 1:
            raise ProjectionError(f"a listener's concurrency={concurrency} must be 1 or more")
        if not self._topics:
            raise ProjectionError("a listener hears categories: name them, Listener(…, categories=['price'])")

    def on(self, cls: type) -> Callable[[F], F]:
        """Register the function for an event class: (event), or (event, envelope); it may be `async def`."""
        self._handlers.check_type(cls)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=1, projection="listener", asynchronous=True)
            self._handlers.add(cls, function, takes_envelope=enveloped)
            return function

        return register

    def on_missed(self, function: Callable[[], object]) -> None:
        """Call a function when the broker is back after an absence: anything may have been sent meanwhile."""
        check_function(function, (0,), projection="listener", more="none", asynchronous=True)
        self._missed = function

    def start(self) -> None:
        """Listen, on a thread of its own: what is sent after this has returned is heard."""
        self._closing = False
        self._listening = ListenerThread(self._transport, self._topics, self._hear, self._back)

    def forked(self) -> Callable[[], None] | None:
        """Listen in the child, too; what is sent until it does is missed, which is said."""
        return None if self._listening is None else self._listen_again

    def _listen_again(self) -> None:
        self._listening = ListenerThread(self._transport, self._topics, self._hear, self._back, at_once=False)

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _hear(self, messages: list[Message]) -> None:
        batch = gather(messages, unversioned=True)
        if batch.malformed:
            self.malformed += len(batch.malformed)
            message, reason = batch.malformed[0]
            self._told.warning("a message on %s is no event, and is passed over: %s", message.topic, reason)
        together: list[Arrival] = []  # for `async def` functions, which wait for each other at a plain one alone
        for arrival in (arrival for run in batch.runs for arrival in run.arrivals):
            handler = self._handlers.of(arrival)
            if handler is not None and handler.asynchronous:
                together.append(arrival)
                continue
            self._await_all(together)
            together = []
            self._guarded(lambda arrival=arrival: self._call(arrival), text_of(arrival.message, "ce_type"))
        self._await_all(together)

    def _back(self) -> None:
        logger.warning("listening again to %s: what was sent meanwhile is missed", ", ".join(self._topics))
        self._guarded(self._call_missed, "on_missed")

    def _call_missed(self) -> None:
        if is_asynchronous(self._missed):
            work: Any = self._missed()
            self._run(call_in_time(work, name="a listener's on_missed", seconds=_TIMEOUT))
        else:
            self._missed()

    def _call(self, arrival: Arrival) -> None:
        step: Step | None = self._handlers.decode(arrival)
        if step is not None:
            check_ran(step, step.handler.function(*_arguments(step)))

    def _await_all(self, arrivals: Sequence[Arrival]) -> None:
        """Call `async def` functions: the events of one stream in order, several streams at a time."""
        if not arrivals:
            return
        streams: dict[str, list[Arrival]] = {}
        for arrival in arrivals:
            streams.setdefault(arrival.stream, []).append(arrival)
        self._run(self._await_streams(list(streams.values())))

    async def _await_streams(self, streams: Sequence[Sequence[Arrival]]) -> None:
        waiting = iter(streams)

        async def work() -> None:
            for arrivals in waiting:
                for arrival in arrivals:
                    await self._await(arrival)

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, len(streams)))))

    async def _await(self, arrival: Arrival) -> None:
        kind = text_of(arrival.message, "ce_type")
        try:
            step = self._handlers.decode(arrival)
            if step is not None:
                work: Any = step.handler.function(*_arguments(step))
                check_ran(step, await call_in_time(work, name=step.handler.name, seconds=_TIMEOUT))
        except Exception as error:  # noqa: BLE001 a listener goes on
            self._tell(error, kind)

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            event_loop.run(work, interrupted=lambda: self._closing)
        except CallInterrupted:
            logger.info("a listener is closed while a function of it was running: it is cancelled")

    def _guarded(self, call: Callable[..., object], what: Any) -> None:  # noqa: ANN401 a name for the log
        try:
            call()
        except Exception as error:  # noqa: BLE001 a listener goes on
            self._tell(error, what)

    def _tell(self, error: Exception, what: Any) -> None:  # noqa: ANN401 a name for the log
        if isinstance(error, EventkitError):
            self._passed.warning("a listener passes over %s: %s", what, describe(error))
        else:
            logger.error("a listener's function for %s fails: %s", what, describe(error))


def _arguments(step: Step) -> tuple[Any, ...]:
    return (step.event,) if step.envelope is None else (step.event, step.envelope)
