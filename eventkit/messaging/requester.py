"""Requests and their replies: both typed, matched by the request's id, awaited by threads or by tasks.

A request is a direct message to the responders of its category. It is handled once, even if it is sent again with the
same id. Every process of a service receives all replies on its topic and takes its own. A reply that comes after the
timeout is dropped. While 32 MB of replies wait for their callers, nothing more is received. `responder` answers, and
`replies` stores and sends the answers.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from copy import copy
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from eventkit.domain.catalog import Catalog, check_topic
from eventkit.domain.envelope import Envelope
from eventkit.domain.message import Message, size_of
from eventkit.domain.stream import StreamId
from eventkit.errors import RequestTimeout
from eventkit.forks import reset_in_fork
from eventkit.messaging.direct_messages import DirectMessages, text_of
from eventkit.messaging.listener_thread import ListenerThread
from eventkit.messaging.outgoing import OutgoingQueue, uncancellable
from eventkit.messaging.replies import REPLY_TO, read_reply
from eventkit.observability.rarely import Rarely
from eventkit.observability.tracing import REQUEST
from eventkit.transports.base import Transport

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger("eventkit.messaging")

R = TypeVar("R")
_MAX_EXPIRED = 10_000  # expired requests whose ids are kept
_MAX_HELD = 32_000_000  # bytes of replies that no caller has taken yet


class SentRequest(NamedTuple):
    """The future reply to a request, and the request's id, type and topic."""

    reply: "Future[Message]"
    id: UUID
    name: str
    topic: str


class Requester:
    """Sends requests to the responders of one catalog.

    prices = Requester(open_transport("redis://localhost"), pricing, replies="shop.replies")

    price = prices.request(pricing.stream("price", "tea"), GetPrice("tea"), Price, timeout=2)
    price = await prices.request_async(...)
    """

    def __init__(self, transport: Transport, catalog: Catalog, *, replies: str) -> None:
        """Send on `transport`, which the caller closes after this; `replies` is a topic of the requesting service."""
        self.direct = DirectMessages(catalog)
        self.pending = PendingRequests(transport, check_topic(replies))

    def following(self, cause: Envelope[Any], *, keep: Iterable[str] = ()) -> Self:
        """Return this requester bound to a cause: its requests have the cause's correlation id and trace."""
        bound = copy(self)
        bound.direct = DirectMessages(self.direct.catalog, cause.following(keep=keep))
        return bound

    def start(self) -> None:
        """Listen for replies; otherwise the first request starts it."""
        self.pending.start()

    def request(
        self,
        stream: StreamId | str,
        request: object,
        reply: type[R],
        *,
        timeout: float,
        request_id: UUID | None = None,
    ) -> R:
        """Send a request, and return its reply, an instance of the class `reply`.

        Raise Refused if the responder replies with an error, RequestTimeout after `timeout` seconds, RequestFailed if
        the responder fails, TopicUnusable if no responder can receive it, TransportUnavailable without a broker.
        """
        with self.direct.span(REQUEST, stream, self.pending.system):
            left = self.pending.wait_for_room(timeout)
            message = self._message(stream, request, request_id)
            self.pending.start()
            sent = self._send(message, request)
            del message  # frees its memory: the reply may take long
            try:
                found = sent.reply.result(left)
            except TimeoutError as error:
                raise RequestTimeout(sent.name, sent.id, sent.topic, timeout) from error
            finally:
                self.pending.end(str(sent.id))
            return read_reply(found, sent.name, reply, self.direct.catalog)

    async def request_async(
        self,
        stream: StreamId | str,
        request: object,
        reply: type[R],
        *,
        timeout: float,  # noqa: ASYNC109 as `request` has it
        request_id: UUID | None = None,
    ) -> R:
        """Request as `request` does, for any number of requests at a time."""
        with self.direct.span(REQUEST, stream, self.pending.system):
            left = await self.pending.wait_for_room_async(timeout)
            message = self._message(stream, request, request_id)
            if not self.pending.ready:
                await asyncio.to_thread(self.pending.start)
            sent = self._send(message, request)
            del message  # frees its memory: the reply may take long
            try:
                found = await asyncio.wait_for(asyncio.wrap_future(sent.reply), left)
            except TimeoutError as error:
                raise RequestTimeout(sent.name, sent.id, sent.topic, timeout) from error
            finally:
                self.pending.end(str(sent.id))
            return read_reply(found, sent.name, reply, self.direct.catalog)

    def close(self) -> None:
        """Send the queued requests, stop listening, and close the connections."""
        self.pending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _message(self, stream: StreamId | str, request: object, request_id: UUID | None) -> Message:
        message = self.direct.messages(stream, [request], ids=[request_id or uuid7()])[0]
        message.headers.append((REPLY_TO, self.pending.topic))
        return message

    def _send(self, message: Message, request: object) -> SentRequest:
        request_id = text_of(message, "ce_id")
        future = self.pending.send(request_id, message)
        return SentRequest(future, UUID(request_id), type(request).__name__, message.topic)


class PendingRequests:
    """The pending requests of one process: sent by one publisher, answered on one topic, matched by their ids.

    Safe to use by threads and tasks at once. It listens before it sends the first request.
    """

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
        self.room = ReplyRoom()
        reset_in_fork(self)

    def forked(self) -> None:
        """Listen again before the next request; the pending requests are the parent's."""
        self._listener, self._starting = None, threading.Lock()
        self._waiting, self._expired, self.room = {}, {}, ReplyRoom()

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
        """Expire a request: its reply was taken, or is not awaited any more."""
        reply = self._waiting.pop(request_id, None)
        self.room.leave(request_id)
        if reply is None or reply.done():
            return
        self._expired[request_id] = None
        while len(self._expired) > _MAX_EXPIRED:
            self._expired.pop(next(iter(self._expired)), None)

    def close(self) -> None:
        """Send the queued requests, and stop listening."""
        self._sender.close()
        listener, self._listener = self._listener, None
        self.room.close()
        if listener is not None:
            listener.close()

    def _handle(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.unreadable is not None:
                self.malformed += 1
                self._malformed_log.warning(
                    "a message on %s is no reply, and is skipped: %s", self.topic, message.unreadable
                )
                continue
            request_id = text_of(message, "ce_causationid")
            if self._is_answered(request_id, message):
                continue
            if self._expired.pop(request_id, self) is None:
                self.late += 1
                logger.debug("a reply to %s on %s came too late, the %d. that did", request_id, self.topic, self.late)

    def _is_answered(self, request_id: str, message: Message) -> bool:
        """Set the reply of a pending request when there is room for it; return False if none is pending."""
        awaited, is_open = partial(self._waiting.__contains__, request_id), lambda: self.ready
        if request_id not in self._waiting or not self.room.enter(
            request_id, size_of(message), awaited=awaited, is_open=is_open
        ):
            return False
        reply = self._waiting.get(request_id)
        if reply is None:  # it has ended meanwhile
            self.room.leave(request_id)
            return False
        return _answer(reply, message)


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


class ReplyRoom:
    """Bounds the bytes of replies that no caller has taken yet: a blocked event loop takes none."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self.held = 0  # their sum in bytes
        self._changed = threading.Condition()

    def enter(self, request_id: str, size: int, *, awaited: Callable[[], bool], is_open: Callable[[], bool]) -> bool:
        """Wait until a reply fits, then count it; return False if it is not `awaited` any more.

        It waits while the reply is awaited and `is_open`. A larger reply than the bound fits when no other is held.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.held <= _MAX_HELD or not (awaited() and is_open()))
            if not awaited():
                return False
            self.held += size - self._sizes.get(request_id, 0)
            self._sizes[request_id] = size
        return True

    def leave(self, request_id: str) -> None:
        """Release a reply: its caller has taken it, or does not await it any more."""
        with self._changed:
            self.held -= self._sizes.pop(request_id, 0)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake a thread that waits, which looks at `is_open` again."""
        with self._changed:
            self._changed.notify_all()
