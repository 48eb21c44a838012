"""A thread that receives the messages of topics from now on, and reconnects when the broker is back.

Messages that are sent while the broker is away are missed: it calls `reconnected` as soon as it listens again. No
message ends the thread: an unexpected error is logged, and it listens again.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from eventkit.domain.message import Message
from eventkit.projection.failure import describe
from eventkit.transports.base import Subscription, Transport
from eventkit.worker import Stop, supervise

logger = logging.getLogger("eventkit.messaging")

_BATCH_LIMIT = 500  # messages
_RECEIVE_WAIT = 0.5  # seconds; a stop request waits as long
_CLOSE_TIMEOUT = 5.0  # seconds
_MIN_RESTART_PAUSE, _MAX_RESTART_PAUSE = 0.1, 5.0  # seconds after an unexpected error

Handle = Callable[[list[Message]], None]


class ListenerThread:
    """Calls `handle` with messages, on its thread, and `reconnected` when messages may have been missed."""

    def __init__(
        self,
        transport: Transport,
        topics: Sequence[str],
        handle: Handle,
        reconnected: Callable[[], None],
        *,
        at_once: bool = True,
    ) -> None:
        """Listen from now on; raise TopicUnusable if a topic is missing, TransportUnavailable without a broker.

        Unless `at_once`, nothing is raised: the thread listens as soon as it can, and then calls `reconnected`.
        """
        self._transport = transport
        self._topics = topics
        self._handle = handle
        self._reconnected = reconnected
        self._stop = Stop()
        self._first: Subscription | None = transport.listen(topics) if at_once else None
        self._name = f"listener of {', '.join(topics)}"
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and end the thread."""
        self._stop.set()
        self._thread.join(_CLOSE_TIMEOUT)

    def _run(self) -> None:
        pause = _MIN_RESTART_PAUSE
        while not self._stop.is_set():
            try:
                supervise(self._work, self._stop, name=self._name)
            except Exception as error:  # noqa: BLE001 an error would end the thread unnoticed
                logger.error("the %s failed, and starts again: %s", self._name, describe(error))  # noqa: TRY400 its message may have payload
                self._stop.wait(pause)
                pause = min(2 * pause, _MAX_RESTART_PAUSE)

    def _work(self, stop: Stop) -> None:
        subscription, self._first = self._first, None
        if subscription is None:
            subscription = self._transport.listen(self._topics)
            self._reconnected()
        try:
            while not stop.is_set():
                messages = subscription.receive(_BATCH_LIMIT, _RECEIVE_WAIT)
                if messages:
                    self._handle(messages)
        finally:
            subscription.close()
