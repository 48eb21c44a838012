"""Responders: functions that answer requests, each request once; the reply is stored in the function's transaction.

The projector runs them, as it runs handlers. A request that comes again, from a requester or by redelivery, is not
handled again: its stored reply is sent. A request that came through the outbox is answered by an event.

A batch has up to thousands of requests, and the answer of each may be large. So the answers are written whenever 8 MB
of them are there, and the rest at the end of the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from eventkit.domain.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import ProjectionError, Refused
from eventkit.messaging.direct_messages import text_of
from eventkit.messaging.replies import (
    REPLY_TO,
    KeptReplies,
    RecentReplies,
    Replies,
    Reply,
    ReplyingSource,
    ReplyWriter,
)
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.batch import Arrival, Source
from eventkit.projection.define import AnsweringProjection, F, Projection
from eventkit.projection.dispatch import RAISED, HandlerTable, Step, raised_by
from eventkit.projection.handler_checks import check_awaitable, takes_envelope
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import Workspace
from eventkit.storage.entry import Entry
from eventkit.storage.events import EventStore, encode_entry, merged, write_entries
from eventkit.storage.projections import is_message, keep_replies
from eventkit.transports.base import MAX_BYTES, Transport

_REPLIES = Replies()
TO = "reply_to"  # the field of an event's metadata with the stream for its reply


class Requests(HandlerTable):
    """The handlers of a responder; they refuse a request for a reply to a topic or stream that is not allowed."""

    def __init__(self, responder: str, catalog: Catalog, replies: Replies) -> None:
        super().__init__(responder, catalog)
        self._replies = replies

    def decode(self, arrival: Arrival, opened: EncodedEvent | None = None) -> Step | None:
        """Decode a request; raise ReplyRefused if a reply to its topic or stream is not allowed."""
        step = super().decode(arrival, opened)
        if step is None:
            return None
        if is_message(arrival.stream):
            topic = text_of(arrival.message, REPLY_TO)
            if topic:
                self._replies.check_topic(topic)
        elif step.envelope is not None and TO in step.envelope.metadata.extra:
            self._replies.check_stream(step.envelope.metadata.extra[TO])
        return step


class Answer(msgspec.Struct):
    """The answer of a function to a request."""

    step: Step
    event: object
    refused: bool = False

    def kept(self, catalog: Catalog) -> str:
        """Return the JSON for the inbox."""
        return msgspec.json.encode(Reply.of(catalog.encode(self.event), refused=self.refused)).decode()

    def entries(self, store: EventStore) -> Iterator[Entry]:
        """Yield the event that answers an appended request, in its reply stream."""
        envelope = self.step.envelope
        if envelope is not None and envelope.version and TO in envelope.metadata.extra:
            stream = envelope.metadata.extra[TO]
            yield encode_entry(store.following(envelope), stream, self.event)


class AnswerWriter:
    """Writes the answers of one batch; `recent` has those to direct requests."""

    def __init__(self, workspace: Workspace, store: EventStore, responder: str) -> None:
        self._connection = workspace.connection
        self._store = store
        self._responder = responder
        self.begin()

    def begin(self) -> None:
        """Forget the answers, after a rollback."""
        self.recent = RecentReplies()
        self._kept: dict[str, str] = {}
        self._entries: list[Entry] = []
        self._size = 0  # characters that wait to be written

    def add(self, answer: Answer) -> None:
        """Take an answer; write those that wait if there are 8 MB of them."""
        stream = answer.step.stream
        if is_message(stream):
            self._kept[stream] = kept = answer.kept(self._store.catalog)
            self._size += len(kept)
            self.recent.add({stream: kept})
        for entry in answer.entries(self._store):
            self._entries.append(entry)
            self._size += sum(len(event.data) for event in entry.events)
        if self._size > MAX_BYTES:
            self.write()

    def write(self) -> None:
        """Write the answers that wait: first to the inbox, then to the streams, which are locked in sorted order."""
        if self._kept:
            keep_replies(self._connection, self._store.schema, self._responder, self._kept)
        write_entries(self._store, self._connection, merged(self._entries))
        self._kept, self._entries, self._size = {}, [], 0


class Responder(AnsweringProjection):
    """Functions over the transaction's SQLAlchemy Connection, by class of request; each returns its reply.

    desk = Responder("price_desk", EventStore(pricing), categories=["price"])

    @desk.on(GetPrice)
    def price(connection: Connection, request: GetPrice) -> Price:
        cents = connection.scalar(select(prices.c.cents).where(prices.c.article == request.article))
        if cents is None:
            raise Refused(UnknownArticle(request.article))       # rolls back the writes of this function
        return Price(request.article, cents)

    A request that was appended with `{"reply_to": "quote-42"}` in its metadata is answered by an event in that stream,
    where the responder declares the category: `replies=Replies(categories=["quote"])`.
    """

    kind = "responder"
    needs_sqlalchemy = True
    acts = True
    unversioned = True
    prompt = True
    retry = Retry(attempts=1)  # a requester waits for the answer

    def __init__(  # noqa: PLR0913 the options of all handlers, each by its name
        self,
        name: str,
        store: EventStore,
        *,
        categories: Sequence[str],
        batch: int = Projection.batch,
        replies: Replies = _REPLIES,
        retry: Retry | None = None,
        timeout: float | None = None,
        concurrency: int = Projection.concurrency,
    ) -> None:
        """Declare a responder to the requests of `categories`.

        A request that fails is parked, and its requester gets RequestFailed; `retry` allows more attempts. `replies`
        allows topics and streams: topics that end with `.replies` unless given. `batch` and `timeout` are those of
        `Handlers`. `concurrency` limits the parallel transactions of one process with `async def` functions.
        """
        super().__init__(name, store.catalog, categories=categories)
        self.declare_concurrency(concurrency)
        self.handlers = Requests(name, store.catalog, replies)
        self._replies = replies
        self.declare(retry, timeout)
        self.batch = batch
        self._store = store
        self._recent = RecentReplies()  # stored since the last acknowledgement
        if batch < 1 or not categories:
            raise ProjectionError(
                f"responder {name!r}: batch={batch} must be 1 or more, and categories={categories} name those of its "
                "requests"
            )

    def on(self, cls: type, *, retry: Retry | None = None, timeout: float | None = None) -> Callable[[F], F]:
        """Register the function for a class of requests: (connection, request), or (connection, request, envelope).

        An `async def` is called with SQLAlchemy's AsyncConnection.
        """
        self.handlers.check_type(cls)
        policy = self.policy(cls, retry, timeout)

        def register(function: F) -> F:
            enveloped = takes_envelope(function, plain=2, projection=self.name, asynchronous=True)
            check_awaitable(function, projection=self.name)
            call = function if enveloped else lambda connection, request, _: function(connection, request)
            self.handlers.add(cls, call, takes_envelope=True, user=function, policy=policy)
            return function

        return register

    def apply(self, workspace: Workspace, steps: Sequence[Step]) -> None:
        """Answer requests, and store the replies."""
        if not steps:
            return
        writer = AnswerWriter(workspace, self._store, self.name)
        if not self._together(workspace, steps, writer):
            for step in steps:
                writer.add(self._alone(workspace, step))
        writer.write()
        workspace.when_committed(lambda: self._recent.add(writer.recent.take()))

    def replying(self, source: Source, transport: Transport, connect: Callable[[], psycopg.Connection[Any]]) -> Source:
        """Return a source that sends the replies before it acknowledges."""
        kept = KeptReplies(self._recent, self.name, self._store.schema, connect)
        writer = ReplyWriter(self.name, self.catalog.name, kept, self._replies)
        return ReplyingSource(source, writer, lambda: transport.publisher(to_listeners=True), transport.system)

    def _together(self, workspace: Workspace, steps: Sequence[Step], writer: AnswerWriter) -> bool:
        """Answer all in one savepoint; roll back and return False if one of several is refused."""
        workspace.connection.execute("savepoint answers")  # the commit releases it, without a round trip
        try:
            for step in steps:
                writer.add(_call(workspace, step))
        except Refused as refusal:
            workspace.connection.execute("rollback to savepoint answers")
            writer.begin()
            if len(steps) > 1:
                return False
            writer.add(Answer(steps[0], refusal.error, refused=True))
        return True

    def _alone(self, workspace: Workspace, step: Step) -> Answer:
        """Answer one request in its own savepoint; a refusal rolls back its function's writes."""
        try:
            with workspace.connection.transaction():
                return _call(workspace, step)
        except Refused as refusal:
            return Answer(step, refusal.error, refused=True)


def _call(workspace: Workspace, step: Step) -> Answer:
    if step.handler.asynchronous:
        arguments = (workspace.async_connection, step.event, step.envelope)
        return Answer(step, workspace.call_async([AsyncCall(step, step.handler.function, arguments)])[0])
    try:
        return Answer(step, step.handler.function(workspace.sqlalchemy, step.event, step.envelope))
    except RAISED as error:
        raised_by(step, error)
        raise
