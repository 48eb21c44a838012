"""The requests of one process that are under way: sent by one publisher, answered on one topic, found by their ids.

Every process of a service reads all replies on its topic and takes its own. A reply that comes after its time is
dropped.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

from eventkit.domain.message import Message
from eventkit.forks import tell_in_fork
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.messaging.outgoing import OutgoingQueue, unending
from eventkit.observability.rarely import Rarely
from eventkit.transports.base import Transport

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger("eventkit.messaging")

_REMEMBERED = 10_000  # requests whose time is over


class PendingRequests:
    """Safe to use by threads and tasks at once; begins to listen before the first request is sent."""

    def __init__(self, transport: Transport, replies: str) -> None:
        """Expect replies on the topic `replies`."""
        self.topic = replies
        self.late = 0  # replies that came after their time
        self.malformed = 0  # messages that were no replies
        self._told = Rarely(logger)
        self._transport = transport
        self._post = OutgoingQueue(transport.publisher)
        self._listening: ListenerThread | None = None
        self._starting = threading.Lock()
        self._waiting: dict[str, Future[Message]] = {}
        self._over: dict[str, None] = {}
        tell_in_fork(self)

    def forked(self) -> None:
        """Listen anew before the next request; those under way are the parent's."""
        self._listening, self._starting = None, threading.Lock()
        self._waiting, self._over = {}, {}

    @property
    def ready(self) -> bool:
        """Whether a reply would be heard."""
        return self._listening is not None

    def start(self) -> None:
        """Listen, if that has not begun: TopicUnusable where the topic of the replies is missing."""
        with self._starting:
            if not self.ready:
                self._listening = ListenerThread(self._transport, [self.topic], self._hear, lambda: None)

    def send(self, request_id: str, message: Message) -> "Future[Message]":
        """Send a request; return its reply to come, or why it could not be sent."""
        reply: Future[Message] = unending()
        self._waiting[request_id] = reply
        self._post.send([message]).add_done_callback(lambda sent: _fail(reply, sent.exception()))
        return reply

    def end(self, request_id: str) -> None:
        """Wait no longer for a reply."""
        reply = self._waiting.pop(request_id, None)
        if reply is None or reply.done():
            return
        self._over[request_id] = None
        while len(self._over) > _REMEMBERED:
            self._over.pop(next(iter(self._over)), None)

    def close(self) -> None:
        """Send what waits, and hear no more."""
        self._post.close()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _hear(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.unreadable is not None:
                self.malformed += 1
                self._told.warning(
                    "a message on %s is no reply, and is passed over: %s", self.topic, message.unreadable
                )
                continue
            request_id = text_of(message, "ce_causationid")
            reply = self._waiting.get(request_id)
            if reply is not None and _answer(reply, message):
                continue
            if self._over.pop(request_id, self) is None:
                self.late += 1
                logger.debug("a reply to %s on %s came too late, the %d. that did", request_id, self.topic, self.late)


def _answer(reply: "Future[Message]", message: Message) -> bool:
    """Give a request its reply; False where it has one, or has failed."""
    try:
        reply.set_result(message)
    except InvalidStateError:
        return False
    return True


def _fail(reply: "Future[Message]", error: BaseException | None) -> None:
    if error is not None:
        with suppress(InvalidStateError):  # it is answered
            reply.set_exception(error)
