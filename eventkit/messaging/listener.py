"""Broadcasts: functions that every running process calls for each message, as for cached values or settings.

A process gets only messages that are sent while it runs. After the broker was away, `on_missed` is called, because the
process may have missed messages. The error of a function is logged, and the next message follows.
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
from eventkit.forks import reset_in_fork
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.observability.tracing import PROCESS, kind_of, messages_span, note
from eventkit.projection.async_calls import call_in_time
from eventkit.projection.batch import Arrival, gather
from eventkit.projection.define import F
from eventkit.projection.dispatch import HandlerTable, Step
from eventkit.projection.failure import describe
from eventkit.projection.handler_checks import check_function, check_ran, takes_envelope
from eventkit.transports.base import Transport

logger = logging.getLogger("eventkit.messaging")


_CALL_TIMEOUT = 60.0  # seconds for an `async def` function


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
        """Declare a listener of the topics of `categories`: for broadcasts, and for events that the relay sends.

        `concurrency` limits the `async def` functions that run at a time; the events of one stream come in order.
        """
        self._transport = transport
        self._topics = catalog.topics_of(categories)
        self._handlers = HandlerTable("listener", catalog)
        self.malformed = 0  # messages that are not events
        self._malformed_log, self._skipped_log, self._failed_log = Rarely(logger), Rarely(logger), Rarely(logger)
        self._missed: Callable[[], object] = lambda: None
        self._thread: ListenerThread | None = None
        self._closing = False
        self._concurrency = concurrency
        reset_in_fork(self)
        if concurrency < 1:
            raise ProjectionError(f"a listener's concurrency={concurrency} must be 1 or more")
        if not self._topics:
            raise ProjectionError("a listener needs categories: name them, Listener(…, categories=['price'])")

    def on(self, cls: type) -> Callable[[F], F]:
        """Register the function for an event class: (event), or (event, envelope); it may be `async def`."""
        self._handlers.check_type(cls)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=1, projection="listener", asynchronous=True)
            self._handlers.add(cls, function, takes_envelope=enveloped)
            return function

        return register

    def on_missed(self, function: Callable[[], object]) -> None:
        """Call a function when the broker is back after an absence: messages may have been missed."""
        check_function(function, (0,), projection="listener", more="none", asynchronous=True)
        self._missed = function

    def start(self, *, at_once: bool = True) -> None:
        """Listen on a new thread; every message that is sent after this call has returned is received.

        Raise TopicUnusable if a topic is missing, TransportUnavailable without a broker. Unless `at_once`, raise
        nothing: listen as soon as the broker is there, and then call `on_missed`. A started listener is left as it is.
        """
        self._closing = False
        if self._thread is None:
            self._thread = ListenerThread(
                self._transport, self._topics, self._handle, self._reconnected, at_once=at_once
            )

    def forked(self) -> Callable[[], None] | None:
        """Listen in the child, too; `on_missed` is called, because it may miss messages until then."""
        if self._thread is None:
            return None
        self._thread = None
        return lambda: self.start(at_once=False)

    def close(self) -> None:
        """End the thread; a running `async def` function is cancelled."""
        self._closing = True
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _handle(self, messages: list[Message]) -> None:
        with messages_span(PROCESS, messages, attributes={"messaging.system": self._transport.system}):
            self._call_functions(messages)

    def _call_functions(self, messages: list[Message]) -> None:
        batch = gather(messages, unversioned=True)
        if batch.malformed:
            self.malformed += len(batch.malformed)
            message, reason = batch.malformed[0]
            self._malformed_log.warning("a message on %s is no event, and is skipped: %s", message.topic, reason)
        pending: list[Arrival] = []  # for `async def` functions; they end before the next plain function
        for arrival in (arrival for run in batch.runs for arrival in run.arrivals):
            handler = self._handlers.of(arrival)
            if handler is not None and handler.asynchronous:
                pending.append(arrival)
                continue
            self._await_all(pending)
            pending = []
            self._guarded(lambda arrival=arrival: self._call(arrival), text_of(arrival.message, "ce_type"))
        self._await_all(pending)

    def _reconnected(self) -> None:
        logger.warning("listening again to %s: messages sent meanwhile are missed", ", ".join(self._topics))
        self._guarded(self._call_missed, "on_missed")

    def _call_missed(self) -> None:
        if is_asynchronous(self._missed):
            work: Any = self._missed()
            self._run(call_in_time(work, name="a listener's on_missed", seconds=_CALL_TIMEOUT))
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
                check_ran(step, await call_in_time(work, name=step.handler.name, seconds=_CALL_TIMEOUT))
        except Exception as error:  # noqa: BLE001 a listener continues with the next message
            self._log(error, kind)

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            event_loop.run(work, interrupted=lambda: self._closing)
        except CallInterrupted:
            logger.info("a listener was closed while one of its functions was running: the function is cancelled")

    def _guarded(self, call: Callable[..., object], name: str) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 a listener continues with the next message
            self._log(error, name)

    def _log(self, error: Exception, name: str) -> None:
        note("eventkit.failed", {"eventkit.type": name}, error=error)
        if isinstance(error, EventkitError):
            self._skipped_log.warning("a listener skips %s: %s", name, describe(error))
        else:
            sentence, fields = "a listener's function for %s fails: %s", LogFields(error_type=kind_of(error))
            self._failed_log.error(sentence, name, describe(error), kind=(name, type(error)), fields=fields)


def _arguments(step: Step) -> tuple[Any, ...]:
    return (step.event,) if step.envelope is None else (step.event, step.envelope)
