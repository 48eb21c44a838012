"""Where a responder may reply to: what a request says of it is written by anybody who may write to its topic."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from eventkit.domain.catalog import category_of, check_topic
from eventkit.domain.header_values import shown
from eventkit.domain.stream import StreamId
from eventkit.errors import CatalogError, InvalidStreamId, ReplyRefused

TOPICS = ("*.replies",)


class Replies:
    """The places that a responder declares.

    desk = Responder("desk", store, categories=["desk"], replies=Replies(categories=["quote"]))

    A request that names another place is not worked; it becomes a dead letter.
    """

    def __init__(self, *, topics: Sequence[str] = TOPICS, categories: Sequence[str] = ()) -> None:
        """Allow topics by patterns (`*` is any text), and categories of streams in the responder's own store."""
        self.topics = tuple(topics)
        self.categories = tuple(category_of(category) for category in categories)

    def check_topic(self, topic: str) -> None:
        """Raise ReplyRefused where replies are not sent to a topic."""
        if not self.takes_topic(topic):
            raise ReplyRefused(
                f"it asks for its reply on the topic {shown(topic)}, and this responder replies on "
                f"{' and '.join(self.topics) or 'none'}: declare it, replies=Replies(topics=[...]), or discard it"
            )

    def takes_topic(self, topic: str) -> bool:
        """Whether replies are sent to a topic."""
        try:
            return any(fnmatchcase(check_topic(topic), pattern) for pattern in self.topics)
        except CatalogError:
            return False

    def check_stream(self, stream: object) -> None:
        """Raise ReplyRefused where replies are not appended to a stream."""
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
