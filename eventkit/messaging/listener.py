"""Broadcasts: functions that every running instance calls for what is sent while it runs; cached values, settings.

Nothing is kept for an instance that is not there, or whose broker is away: it is told afterwards that it may have
missed something. A function that fails is logged, and the next message comes.
"""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.message import Message
from eventkit.errors import EventkitError, ProjectionError
from eventkit.forks import tell_in_fork
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.observability.rarely import Rarely
from eventkit.projection.apply.error_class import said
from eventkit.projection.batch import Arrival, gather
from eventkit.projection.define.dispatch import HandlerTable, Step, check_function, check_ran, takes_envelope
from eventkit.projection.define.projection import F
from eventkit.transports.base import Transport

logger = logging.getLogger("eventkit.messaging")


class Listener:
    """The functions of one process.

    prices = Listener(transport, shop, categories=["price"])

    @prices.on(PriceChanged)
    def changed(event: PriceChanged) -> None:
        cache.pop(event.article, None)

    prices.on_missed(cache.clear)
    prices.start()
    """

    def __init__(self, transport: Transport, catalog: Catalog, *, categories: Sequence[str]) -> None:
        """Declare it; it hears the topics of some categories, what is broadcast there and what the relay sends."""
        self._transport = transport
        self._topics = catalog.topics_of(categories)
        self._handlers = HandlerTable("listener", catalog)
        self.malformed = 0  # messages that were no events
        self._told, self._passed = Rarely(logger), Rarely(logger)
        self._missed: Callable[[], object] = lambda: None
        self._listening: ListenerThread | None = None
        tell_in_fork(self)
        if not self._topics:
            raise ProjectionError("a listener hears categories: name them, Listener(…, categories=['price'])")

    def on(self, cls: type) -> Callable[[F], F]:
        """Register the function for an event class: (event), or (event, envelope)."""
        self._handlers.check_type(cls)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=1, projection="listener")
            self._handlers.add(cls, function, takes_envelope=enveloped)
            return function

        return register

    def on_missed(self, function: Callable[[], object]) -> None:
        """Call a function when the broker is back after an absence: anything may have been sent meanwhile."""
        check_function(function, (0,), projection="listener", more="none")
        self._missed = function

    def start(self) -> None:
        """Listen, on a thread of its own: what is sent after this has returned is heard."""
        self._listening = ListenerThread(self._transport, self._topics, self._hear, self._back)

    def forked(self) -> Callable[[], None] | None:
        """Listen in the child, too; what is sent until it does is missed, which is said."""
        return None if self._listening is None else self._listen_again

    def _listen_again(self) -> None:
        self._listening = ListenerThread(self._transport, self._topics, self._hear, self._back, at_once=False)

    def close(self) -> None:
        """Stop listening."""
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
        for run in batch.runs:
            for arrival in run.arrivals:
                self._guarded(lambda arrival=arrival: self._call(arrival), text_of(arrival.message, "ce_type"))

    def _back(self) -> None:
        logger.warning("listening again to %s: what was sent meanwhile is missed", ", ".join(self._topics))
        self._guarded(self._missed, "on_missed")

    def _call(self, arrival: Arrival) -> None:
        step: Step | None = self._handlers.decode(arrival)
        if step is not None:
            arguments = (step.event,) if step.envelope is None else (step.event, step.envelope)
            check_ran(step, step.handler.function(*arguments))

    def _guarded(self, call: Callable[..., object], what: Any) -> None:  # noqa: ANN401 a name for the log
        try:
            call()
        except EventkitError as error:
            self._passed.warning("a listener passes over %s: %s", what, said(error))
        except Exception as error:  # noqa: BLE001 a listener goes on
            logger.error("a listener's function for %s fails: %s", what, said(error))  # noqa: TRY400 what it says is payload
