"""The topics and streams to which a responder may reply: any sender of a request can name another."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from eventkit.domain.catalog import category_of, check_topic
from eventkit.domain.header_values import shown
from eventkit.domain.stream import StreamId
from eventkit.errors import CatalogError, InvalidStreamId, ReplyRefused

TOPICS = ("*.replies",)


class Replies:
    """The allowed topics and streams of a responder's replies.

    desk = Responder("desk", store, categories=["desk"], replies=Replies(categories=["quote"]))

    A request that names another topic or stream is not handled; it becomes a dead letter.
    """

    def __init__(self, *, topics: Sequence[str] = TOPICS, categories: Sequence[str] = ()) -> None:
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
