"""The pending requests of one process: sent by one publisher, answered on one topic, matched by their ids.

Every process of a service receives all replies on its topic and takes its own. A reply that comes after the timeout is
dropped.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

from eventkit.domain.message import Message
from eventkit.forks import reset_in_fork
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.messaging.outgoing import OutgoingQueue, uncancellable
from eventkit.observability.rarely import Rarely
from eventkit.transports.base import Transport

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger("eventkit.messaging")

_MAX_EXPIRED = 10_000  # expired requests whose ids are kept


class PendingRequests:
    """Safe to use by threads and tasks at once; it listens before it sends the first request."""

    def __init__(self, transport: Transport, replies: str) -> None:
        """Receive replies on the topic `replies`."""
        self.topic = replies
        self.system = transport.system
        self.late = 0  # replies that came after the timeout
        self.malformed = 0  # messages that are not replies
        self._malformed_log = Rarely(logger)
        self._transport = transport
        self._sender = OutgoingQueue(transport.publisher)
        self._listener: ListenerThread | None = None
        self._starting = threading.Lock()
        self._waiting: dict[str, Future[Message]] = {}
        self._expired: dict[str, None] = {}
        reset_in_fork(self)

    def forked(self) -> None:
        """Listen again before the next request; the pending requests are the parent's."""
        self._listener, self._starting = None, threading.Lock()
        self._waiting, self._expired = {}, {}

    @property
    def ready(self) -> bool:
        """Whether it listens for replies."""
        return self._listener is not None

    def start(self) -> None:
        """Listen for replies, unless it does so already; raise TopicUnusable if their topic is missing."""
        with self._starting:
            if not self.ready:
                self._listener = ListenerThread(self._transport, [self.topic], self._handle, lambda: None)

    def wait_for_room(self, timeout: float) -> float:
        """Wait while 32 MB of requests are on their way, at most `timeout` seconds; return how many are left."""
        return self._sender.wait_for_room(timeout)

    async def wait_for_room_async(self, timeout: float) -> float:  # noqa: ASYNC109 as `wait_for_room` has it
        """Wait while 32 MB of requests are on their way, at most `timeout` seconds; return how many are left."""
        return await self._sender.wait_for_room_async(timeout)

    def send(self, request_id: str, message: Message) -> "Future[Message]":
        """Send a request; return the future of its reply, or of the error of sending."""
        reply: Future[Message] = uncancellable()
        self._waiting[request_id] = reply
        self._sender.send([message]).add_done_callback(lambda sent: _fail(reply, sent.exception()))
        return reply

    def end(self, request_id: str) -> None:
        """Expire a request: its reply is not awaited any more."""
        reply = self._waiting.pop(request_id, None)
        if reply is None or reply.done():
            return
        self._expired[request_id] = None
        while len(self._expired) > _MAX_EXPIRED:
            self._expired.pop(next(iter(self._expired)), None)

    def close(self) -> None:
        """Send the queued requests, and stop listening."""
        self._sender.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _handle(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.unreadable is not None:
                self.malformed += 1
                self._malformed_log.warning(
                    "a message on %s is no reply, and is skipped: %s", self.topic, message.unreadable
                )
                continue
            request_id = text_of(message, "ce_causationid")
            reply = self._waiting.get(request_id)
            if reply is not None and _answer(reply, message):
                continue
            if self._expired.pop(request_id, self) is None:
                self.late += 1
                logger.debug("a reply to %s on %s came too late, the %d. that did", request_id, self.topic, self.late)


def _answer(reply: "Future[Message]", message: Message) -> bool:
    """Set the reply of a request; return False if it has one, or has failed."""
    try:
        reply.set_result(message)
    except InvalidStateError:
        return False
    return True


def _fail(reply: "Future[Message]", error: BaseException | None) -> None:
    if error is not None:
        with suppress(InvalidStateError):  # it has a reply
            reply.set_exception(error)
