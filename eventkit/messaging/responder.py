"""Responders: functions that answer requests, each request once; the reply is stored in the function's transaction.

The projector runs them, as it runs handlers. A request that comes again, from a requester or by redelivery, is not
handled again: its stored reply is sent. A request that came through the outbox is answered by an event.
"""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from eventkit.domain.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import ProjectionError, Refused
from eventkit.messaging.allowed_replies import Replies
from eventkit.messaging.answer_writer import TO, Answer, AnswerWriter
from eventkit.messaging.direct_messages import REPLY_TO, text_of
from eventkit.messaging.reply_delivery import KeptReplies, RecentReplies, ReplyingSource, ReplyWriter
from eventkit.projection.async_calls import AsyncCall
from eventkit.projection.batch import Arrival, Source
from eventkit.projection.define import AnsweringProjection, F, Projection
from eventkit.projection.dispatch import RAISED, HandlerTable, Step, check_awaitable, raised_by, takes_envelope
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import Workspace
from eventkit.storage.events import EventStore
from eventkit.storage.projections import is_message
from eventkit.transports.base import Transport

_REPLIES = Replies()


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
