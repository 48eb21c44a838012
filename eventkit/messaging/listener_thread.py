"""A thread that hears what comes on topics from now on, and goes on by itself when the broker is back.

What was sent while the broker was away is missed, which is said (`back`) as soon as it listens again. Nothing that
comes ends the thread: an error that nobody expects is logged, and it listens again.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from eventkit.domain.message import Message
from eventkit.projection.failure import describe
from eventkit.transports.base import Subscription, Transport
from eventkit.worker import Stop, supervise

logger = logging.getLogger("eventkit.messaging")

_LIMIT = 500  # messages at a time
_WAIT = 0.5  # seconds, so that a request to stop is soon heard
_GOODBYE = 5.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds after errors that nobody expects

Hear = Callable[[list[Message]], None]


class ListenerThread:
    """Calls `hear` with what comes, on its thread, and `back` when something may have been missed."""

    def __init__(
        self, transport: Transport, topics: Sequence[str], hear: Hear, back: Callable[[], None], *, at_once: bool = True
    ) -> None:
        """Listen from now on: TopicUnusable where a topic is missing, TransportUnavailable where nobody answers.

        Unless `at_once`, nothing is raised: the thread listens as soon as it can, and says that something was missed.
        """
        self._transport = transport
        self._topics = topics
        self._hear = hear
        self._back = back
        self._stop = Stop()
        self._first: Subscription | None = transport.listen(topics) if at_once else None
        self._name = f"listener of {', '.join(topics)}"
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(_GOODBYE)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                supervise(self._work, self._stop, name=self._name)
            except Exception as error:  # noqa: BLE001 a thread that dies tells nobody
                logger.error("the %s fails, and begins again: %s", self._name, describe(error))  # noqa: TRY400 what it says is payload
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _work(self, stop: Stop) -> None:
        subscription, self._first = self._first, None
        if subscription is None:
            subscription = self._transport.listen(self._topics)
            self._back()
        try:
            while not stop.is_set():
                messages = subscription.receive(_LIMIT, _WAIT)
                if messages:
                    self._hear(messages)
        finally:
            subscription.close()
