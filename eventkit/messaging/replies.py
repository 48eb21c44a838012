"""The replies of a responder: where they may go, how they are stored, when they are sent, and how they are read.

The stored replies of a batch are sent after its commit; then the batch is acknowledged.

    receive -> apply: work, inbox row and reply in one transaction -> send the stored replies -> acknowledge

If the process dies between commit and acknowledgement, another one receives the requests again and sends the stored
replies. A reply that cannot be sent, because its topic is gone, is dropped with a warning.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Self, TypeVar

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from eventkit.domain.catalog import Catalog, category_of, check_topic
from eventkit.domain.codec import Encoded
from eventkit.domain.header_values import shown, uuid_of
from eventkit.domain.message import Message, event_of, unversioned
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId, is_stream
from eventkit.errors import (
    CatalogError,
    InvalidStreamId,
    Refused,
    ReplyRefused,
    RequestFailed,
    TransportUnavailable,
    UndecodableEvent,
    UnknownEventType,
)
from eventkit.messaging.direct_messages import encoded, refuse_personal, text_of
from eventkit.messaging.outgoing import Outgoing
from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.observability.tracing import REPLY, kind_of, messages_span, note
from eventkit.projection.batch import Source, gather
from eventkit.storage.projections import StoredReply, find_replies, is_message
from eventkit.transports.base import MAX_BYTES, Mark, Publisher

logger = logging.getLogger("eventkit.messaging")

R = TypeVar("R")

REPLY_TO = "ce_replyto"  # the header of a request with the topic of its reply
OUTCOME = "ce_outcome"  # the header of a refusal or a failure, instead of a reply
REFUSED, FAILED = "refused", "failed"
_TOPICS = ("*.replies",)
_MAX_ID = 200  # characters
_MAX_FAILURE_LENGTH = 1_000  # characters of a responder's failure text
_NOT_HANDLED = "no responder of {} takes it"
_PARKED = "its responder {} has failed at it, and has parked it: `eventkit dead-letters list` says why"


class Replies:
    """The allowed topics and streams of a responder's replies.

    desk = Responder("desk", store, categories=["desk"], replies=Replies(categories=["quote"]))

    A request that names another topic or stream is not handled; it becomes a dead letter.
    """

    def __init__(self, *, topics: Sequence[str] = _TOPICS, categories: Sequence[str] = ()) -> None:
        """Allow topics by patterns (`*` is any text), and streams by their categories in the responder's own store."""
        self.topics = tuple(topics)
        self.categories = tuple(category_of(category) for category in categories)

    def check_topic(self, topic: str) -> None:
        """Raise ReplyRefused unless replies to a topic are allowed."""
        if not self.allows_topic(topic):
            raise ReplyRefused(
                f"it asks for its reply on the topic {shown(topic)}, and this responder replies on "
                f"{' and '.join(self.topics) or 'none'}: declare it, replies=Replies(topics=[...]), or discard it"
            )

    def allows_topic(self, topic: str) -> bool:
        """Return whether replies to a topic are allowed."""
        try:
            return any(fnmatchcase(check_topic(topic), pattern) for pattern in self.topics)
        except CatalogError:
            return False

    def check_stream(self, stream: object) -> None:
        """Raise ReplyRefused unless replies in a stream are allowed."""
        try:
            category = StreamId.parse(stream).category
        except InvalidStreamId:
            category = ""
        if category not in self.categories:
            raise ReplyRefused(
                f"it asks for its reply in the stream {shown(stream)}, and this responder replies in streams of "
                f"{' and '.join(self.categories) or 'no category'}: declare it, replies=Replies(categories=[...]), "
                "or discard it"
            )


class Reply(msgspec.Struct, frozen=True):
    """A reply as it is stored in the inbox."""

    type: str
    schema_version: int
    data: msgspec.Raw
    refused: bool

    @classmethod
    def of(cls, event: Encoded, *, refused: bool) -> Self:
        """Return the reply to store; raise InvalidEvent if it has personal data."""
        refuse_personal(event)
        return cls(event.type, event.schema_version, msgspec.Raw(event.data.encode()), refused)


class RecentReplies:
    """Replies in memory, as JSON by message, as far as they fit into 8 MB; the inbox has the others."""

    def __init__(self) -> None:
        self._replies: dict[str, str] = {}
        self._size = 0  # characters

    def add(self, replies: Mapping[str, str]) -> None:
        """Keep replies, unless there is no room."""
        size = sum(map(len, replies.values()))
        if self._size + size <= MAX_BYTES:
            self._replies.update(replies)
            self._size += size

    def take(self) -> dict[str, str]:
        """Return and remove all."""
        taken, self._replies, self._size = self._replies, {}, 0
        return taken


class KeptReplies:
    """The stored replies of one responder: those of the last commit from memory, others from the inbox."""

    def __init__(
        self, recent: RecentReplies, responder: str, schema: str, connect: Callable[[], psycopg.Connection[Any]]
    ) -> None:
        """Query the inbox on an autocommit connection from `connect`; the responder fills `recent`."""
        self._recent = recent
        self._responder = responder
        self._schema = schema
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None

    def take(self, names: Collection[str]) -> Iterator[dict[str, StoredReply]]:
        """Yield the replies to these requests, some 8 MB at a time, and clear the recent ones."""
        recent = self._recent.take()
        found = {name: StoredReply(recent[name], parked=False) for name in names if name in recent}
        others = [name for name in names if name not in found]
        if found:
            yield found
        recent, found = {}, {}
        if others:
            self._connection = self._connection or self._connect()
            yield from find_replies(self._connection, self._schema, self._responder, others)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class ReplyWriter:
    """The replies of one responder, as messages."""

    def __init__(self, responder: str, source: str, kept: KeptReplies, replies: Replies) -> None:
        """Write the replies of `kept`, and own it.

        `source` is the name of their catalog; `replies` allows their topics.
        """
        self._replies = replies
        self._responder = responder
        self._source = source
        self._kept = kept

    def requests(self, messages: Sequence[Message]) -> dict[str, Message]:
        """Return the direct requests, by the names of their rows in the inbox.

        A request for a reply on a topic that is not allowed gets none: it is a dead letter.
        """
        allowed = [message for message in messages if self._replies.allows_topic(text_of(message, REPLY_TO))]
        arrivals = [arrival for run in gather(allowed, unversioned=True).runs for arrival in run.arrivals]
        return {arrival.stream: arrival.message for arrival in arrivals if is_message(arrival.stream)}

    def replies_to(self, requests: Mapping[str, Message]) -> Iterator[list[Message]]:
        """Yield the replies to requests, which are given by the names of their rows, some 8 MB at a time."""
        for found in self._kept.take(requests.keys()):
            yield [self._reply(requests[name], answer) for name, answer in found.items()]

    def close(self) -> None:
        self._kept.close()

    def _reply(self, request: Message, answer: StoredReply) -> Message:
        if answer.reply is None:
            reason = (_PARKED if answer.parked else _NOT_HANDLED).format(self._responder)
            return self._message(request, Encoded("eventkit.failed", 1, msgspec.json.encode(reason).decode()), FAILED)
        kept = msgspec.json.decode(answer.reply, type=Reply)
        event = Encoded(kept.type, kept.schema_version, bytes(kept.data).decode())
        return self._message(request, event, REFUSED if kept.refused else "")

    def _message(self, request: Message, event: Encoded, outcome: str) -> Message:
        cause = text_of(request, "ce_id")
        trace = Metadata.fitting(
            traceparent=text_of(request, "ce_traceparent"), tracestate=text_of(request, "ce_tracestate")
        )
        metadata = Metadata(
            correlation_id=_bounded(text_of(request, "ce_correlationid") or cause),
            causation_id=_bounded(cause),
            traceparent=trace.traceparent,
            tracestate=trace.tracestate,
        )
        key = request.key if is_stream(request.key) else f"message-{uuid_of(cause)}"  # brokers do not take every key
        reply = encoded(event, self._source, key, str(uuid7()), metadata)
        message = unversioned(reply, text_of(request, REPLY_TO))
        if outcome:
            message.headers.append((OUTCOME, outcome))
        return message


def _bounded(text: str) -> str | None:
    """Return an id as it came, or cut like `Metadata.fitting` if it is long: some brokers refuse long headers."""
    return text if len(text) <= _MAX_ID else Metadata.fitting(correlation_id=text).correlation_id


class ReplyingSource:
    """A projector's source that sends replies before it acknowledges."""

    def __init__(self, source: Source, writer: ReplyWriter, publisher: Callable[[], Publisher], system: str) -> None:
        """Read `source`, and own it; `system` is the broker's in spans."""
        self._source = source
        self._attributes = {"messaging.system": system}
        self._rarely = Rarely(logger)
        self._writer = writer
        self._outgoing = Outgoing(publisher)

    @property
    def position(self) -> int | None:
        return self._source.position

    @property
    def ready(self) -> bool:
        return self._source.ready

    def receive(self) -> list[Message]:
        return self._source.receive()

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        return self._source.marks(messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send the replies to applied requests, then acknowledge them."""
        # crash point: committed, not answered -> delivered again, the stored replies are sent
        for replies in self._writer.replies_to(self._writer.requests(messages)):
            with messages_span(REPLY, replies, attributes=self._attributes):
                self._send(replies)
        # crash point: answered, not acknowledged -> answered again, and dropped as late
        self._source.acknowledge(messages)

    def _send(self, replies: Sequence[Message]) -> None:
        for place, error in self._outgoing.send(replies).items():
            if isinstance(error, TransportUnavailable):
                raise error
            note("eventkit.failed", {}, error=error)
            request = shown(text_of(replies[place], "ce_causationid"))
            fields = LogFields(topic=replies[place].topic, error_type=kind_of(error))
            self._rarely.warning("a reply to %s is dropped: %s", request, error, kind=kind_of(error), fields=fields)

    def close(self) -> None:
        """Close the publisher, the connection and the source."""
        self._outgoing.close()
        self._writer.close()
        self._source.close()


def read_reply(message: Message, request: str, reply: type[R], catalog: Catalog) -> R:
    """Return the event of a reply to the request of this type; raise Refused or RequestFailed for another outcome."""
    outcome = text_of(message, OUTCOME)
    if outcome == FAILED:
        raise RequestFailed(f"{request} to {message.key!r}: {_failure(message.value)[:_MAX_FAILURE_LENGTH]}")
    try:
        found = catalog.event_of(event_of(message, versioned=False))
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
