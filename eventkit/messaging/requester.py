"""Requests and their replies: both typed, matched by the request's id, awaited by threads or by tasks.

A request is a direct message to the responders of its category. It is handled once, even if it is sent again with the
same id.
"""

import asyncio
from collections.abc import Iterable
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from eventkit.domain.catalog import Catalog, check_topic
from eventkit.domain.envelope import Envelope
from eventkit.domain.message import Message, event_of
from eventkit.domain.stream import StreamId
from eventkit.errors import Refused, RequestFailed, RequestTimeout, UndecodableEvent, UnknownEventType
from eventkit.messaging.direct_messages import FAILED, OUTCOME, REFUSED, REPLY_TO, DirectMessages, text_of
from eventkit.messaging.pending_requests import PendingRequests
from eventkit.observability.tracing import REQUEST
from eventkit.transports.base import Transport

if TYPE_CHECKING:
    from concurrent.futures import Future

R = TypeVar("R")
_MAX_FAILURE_LENGTH = 1_000  # characters of a responder's failure text


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
            del message  # the reply may be long in coming
            try:
                found = sent.reply.result(left)
            except TimeoutError as error:
                raise RequestTimeout(sent.name, sent.id, sent.topic, timeout) from error
            finally:
                self.pending.end(str(sent.id))
            return self._reply(found, sent.name, reply)

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
            del message  # the reply may be long in coming
            try:
                found = await asyncio.wait_for(asyncio.wrap_future(sent.reply), left)
            except TimeoutError as error:
                raise RequestTimeout(sent.name, sent.id, sent.topic, timeout) from error
            finally:
                self.pending.end(str(sent.id))
            return self._reply(found, sent.name, reply)

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

    def _reply(self, message: Message, request: str, reply: type[R]) -> R:
        outcome = text_of(message, OUTCOME)
        if outcome == FAILED:
            raise RequestFailed(f"{request} to {message.key!r}: {_failure(message.value)[:_MAX_FAILURE_LENGTH]}")
        try:
            found = self.direct.catalog.event_of(event_of(message, versioned=False))
        except (UndecodableEvent, UnknownEventType) as error:
            raise RequestFailed(f"{request} has a reply that cannot be read: {error}") from error
        if outcome == REFUSED:
            raise Refused(found)
        if not isinstance(found, reply):
            raise RequestFailed(f"{request} was answered with {type(found).__name__}, not with {reply.__name__}")
        return found


def _failure(value: bytes | str) -> str:
    """Return the text of a responder's failure; a value that is no JSON text is shown as it is."""
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        return value if isinstance(value, str) else value.decode(errors="replace")
