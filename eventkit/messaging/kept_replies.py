"""Sends the kept replies of a batch once it is committed, and only then lets the batch be acknowledged.

    receive -> apply: work, inbox row and reply in one transaction -> send what was kept -> acknowledge

Whoever dies in between, another gets the requests again, finds them taken and sends what was kept. A reply that cannot
be sent (its topic is gone) is the requester's loss, and holds up nobody.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from eventkit.domain.codec import Encoded
from eventkit.domain.header_values import shown, uuid_of
from eventkit.domain.message import Message, unversioned
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import is_stream
from eventkit.errors import TransportUnavailable
from eventkit.messaging.direct_messages import FAILED, OUTCOME, REFUSED, REPLY_TO, encoded, refuse_personal, text_of
from eventkit.messaging.outgoing import Outgoing
from eventkit.messaging.replies import Replies
from eventkit.projection.batch import Source, gather
from eventkit.storage.projections import StoredReply, find_replies, is_message
from eventkit.transports.base import Mark, Publisher

logger = logging.getLogger("eventkit.messaging")

_NOT_HANDLED = "no responder of {} takes it"
_PARKED = "its responder {} has failed at it, and has parked it: `eventkit dead-letters list` says why"


class Reply(msgspec.Struct, frozen=True):
    """What is kept of a reply, as it is in the inbox."""

    type: str
    schema_version: int
    data: msgspec.Raw
    refused: bool

    @classmethod
    def of(cls, event: Encoded, *, refused: bool) -> Self:
        """Keep an encoded event."""
        refuse_personal(event)
        return cls(event.type, event.schema_version, msgspec.Raw(event.data.encode()), refused)


class KeptReplies:
    """What one responder has kept: what it has just committed is at hand, the rest is looked up."""

    def __init__(
        self, at_hand: dict[str, str], responder: str, schema: str, connect: Callable[[], psycopg.Connection[Any]]
    ) -> None:
        """Look up on an autocommit connection of its own; `at_hand` is what its responder fills."""
        self._at_hand = at_hand
        self._responder = responder
        self._schema = schema
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None

    def take(self, names: Collection[str]) -> dict[str, StoredReply]:
        """Return what there is to say to these requests; nothing stays at hand."""
        found = {name: StoredReply(self._at_hand[name], parked=False) for name in names if name in self._at_hand}
        self._at_hand.clear()
        others = [name for name in names if name not in found]
        if others:
            self._connection = self._connection or self._connect()
            found |= find_replies(self._connection, self._schema, self._responder, others)
        return found

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()


class ReplyWriter:
    """The replies of one responder, as messages."""

    def __init__(self, responder: str, source: str, kept: KeptReplies, replies: Replies) -> None:
        """Make them of what is kept, which becomes this one's to close.

        `source` is the catalog that they are of, `replies` says where they may go.
        """
        self._replies = replies
        self._responder = responder
        self._source = source
        self._kept = kept

    def asked(self, messages: Sequence[Message]) -> dict[str, Message]:
        """Return the requests that were sent directly, by the names of their rows in the inbox.

        Nobody is told of one that asks for its reply where it may not go: it is a dead letter.
        """
        wanted = [message for message in messages if self._replies.takes_topic(text_of(message, REPLY_TO))]
        arrivals = [arrival for run in gather(wanted, unversioned=True).runs for arrival in run.arrivals]
        return {arrival.stream: arrival.message for arrival in arrivals if is_message(arrival.stream)}

    def to(self, requests: Mapping[str, Message]) -> list[Message]:
        """Return what there is to say to requests, given by the names of their rows."""
        found = self._kept.take(requests.keys())
        return [self._reply(requests[name], answer) for name, answer in found.items()]

    def close(self) -> None:
        """Let go of the connection."""
        self._kept.close()

    def _reply(self, request: Message, answer: StoredReply) -> Message:
        if answer.reply is None:
            reason = (_PARKED if answer.parked else _NOT_HANDLED).format(self._responder)
            return self._message(request, Encoded("eventkit.failed", 1, reason), FAILED)
        kept = msgspec.json.decode(answer.reply, type=Reply)
        event = Encoded(kept.type, kept.schema_version, bytes(kept.data).decode())
        return self._message(request, event, REFUSED if kept.refused else "")

    def _message(self, request: Message, event: Encoded, outcome: str) -> Message:
        cause = text_of(request, "ce_id")
        story = Metadata(
            correlation_id=text_of(request, "ce_correlationid") or cause,
            causation_id=cause,
            traceparent=text_of(request, "ce_traceparent") or None,
        )
        key = request.key if is_stream(request.key) else f"message-{uuid_of(cause)}"  # brokers do not take every key
        reply = encoded(event, self._source, key, str(uuid7()), story)
        message = unversioned(reply, text_of(request, REPLY_TO))
        if outcome:
            message.headers.append((OUTCOME, outcome))
        return message


class ReplyingSource:
    """A projector's source that answers before it acknowledges."""

    def __init__(self, source: Source, answers: ReplyWriter, publisher: Callable[[], Publisher]) -> None:
        """Read `source`, which becomes this one's to close."""
        self._source = source
        self._answers = answers
        self._outgoing = Outgoing(publisher)

    @property
    def position(self) -> int | None:
        """The source's."""
        return self._source.position

    @property
    def ready(self) -> bool:
        """Whether the source is."""
        return self._source.ready

    def receive(self) -> list[Message]:
        """Return the next batch."""
        return self._source.receive()

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the source's."""
        return self._source.marks(messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send the replies to what has taken effect, then acknowledge it."""
        # crash point: committed, not answered -> delivered again, what was kept is sent
        replies = self._answers.to(self._answers.asked(messages))
        failures = self._outgoing.send(replies) if replies else {}
        for place, error in failures.items():
            if isinstance(error, TransportUnavailable):
                raise error
            logger.warning("a reply to %s is dropped: %s", shown(text_of(replies[place], "ce_causationid")), error)
        # crash point: answered, not acknowledged -> answered again, and dropped as late
        self._source.acknowledge(messages)

    def close(self) -> None:
        """Let go of everything."""
        self._outgoing.close()
        self._answers.close()
        self._source.close()
