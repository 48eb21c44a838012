"""Redis Streams: `redis://host:6379/0`, TLS by `rediss://`; a topic is a stream per shard, chosen by the key's hash.

A group's shard has one owner at a time (`ownership`). All owners read as the group's one consumer, so the messages that
a dead owner had not acknowledged come first, in order. Confirmed messages are as durable as the append-only file:
settings that lose them are refused (`settings`). Redis is one server or its failover pair, not a cluster.
"""

from collections.abc import Mapping, Sequence

from eventkit.transports.base import Finding, Flag, Resume, refuse_losses
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.listener import RedisListener
from eventkit.transports.redis.publisher import RedisPublisher
from eventkit.transports.redis.settings import findings
from eventkit.transports.redis.subscription import RedisSubscription
from eventkit.transports.redis.topics import RedisTopics
from eventkit.transports.resumption import Resumption


class RedisTransport:
    """See `Transport`."""

    flags: frozenset[Flag] = frozenset()
    system = "redis"

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = RedisAddress(url, options)
        self._topics = RedisTopics(self._address)

    def publisher(self, *, to_listeners: bool = False) -> RedisPublisher:  # noqa: ARG002 it needs no listener
        """Return a publisher that connects at its first message."""
        return RedisPublisher(self._address)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> RedisSubscription:
        """Join a group; TopicUnusable when a topic is missing, or lost entries that the group has not read."""
        shards = self._topics.require(topics)
        self._topics.join(shards, group)
        places = Resumption(self._topics.ids(topics), resume)
        return RedisSubscription(self._address, shards, group, places)

    def listen(self, topics: Sequence[str]) -> RedisListener:
        """Return a reader of all shards, from their ends on."""
        return RedisListener(self._address, self._topics.require(topics))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        return self._topics.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        return self._topics.require(topics)

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return a line with the release and the host; ConfigurationError when settings lose confirmed messages."""
        refuse_losses(self.findings(topics))
        return f"Redis {self._topics.version()} at {self._address.hosts}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 a topic has no settings of its own
        """Return the server's settings that decide whether confirmed messages are safe."""
        return findings(self._topics.client, self._address)

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics in their hashes; return the owner of each."""
        return self._topics.claim(topics, owner)

    def release(self, topic: str) -> None:
        """Remove a claim."""
        self._topics.release(topic)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups of the topics' streams."""
        return self._topics.groups(topics)

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Remove a group: its unacknowledged messages then no longer prevent trimming."""
        self._topics.forget(topics, group)

    def close(self) -> None:
        """Close the connection for questions about topics."""
        self._topics.close()


def open_transport(url: str, options: Mapping[str, str]) -> RedisTransport:
    """Open the transport that a URL names."""
    return RedisTransport(url, options)
