"""Redis Streams: `redis://host:6379/0`, TLS by `rediss://`; a topic is a stream per shard, cut by the hash of the key.

A group's shard has one owner at a time (`ownership`); whoever owns it reads in the name of the group's one consumer, so
that what a dead owner had not acknowledged comes first, in order. Durable as the append-only file is: settings that
lose what was confirmed are refused (`settings`). One server or its failover pair, no cluster.
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

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._address = RedisAddress(url, options)
        self._topics = RedisTopics(self._address)

    def publisher(self, *, to_listeners: bool = False) -> RedisPublisher:  # noqa: ARG002 nobody is needed anyhow
        """Return a publisher; it connects at its first message."""
        return RedisPublisher(self._address)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> RedisSubscription:
        """Join a group; TopicUnusable when a topic is missing, or was trimmed below what the group has read."""
        shards = self._topics.require(topics)
        self._topics.join(shards, group)
        places = Resumption(self._topics.ids(topics), resume)
        return RedisSubscription(self._address, shards, group, places)

    def listen(self, topics: Sequence[str]) -> RedisListener:
        """Read all shards from their ends on."""
        return RedisListener(self._address, self._topics.require(topics))

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create what is missing."""
        return self._topics.create(topics, partitions=partitions)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        return self._topics.require(topics)

    def check(self, topics: Sequence[str] = ()) -> str:
        """Return who answers; ConfigurationError where its settings lose what it confirms."""
        refuse_losses(self.findings(topics))
        return f"Redis {self._topics.version()} at {self._address.hosts}"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 a topic has no settings of its own
        """Return what the server's settings mean for what it confirms."""
        return findings(self._topics.client, self._address)

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim topics in its hash where nobody has; return whose each is."""
        return self._topics.claim(topics, owner)

    def release(self, topic: str) -> None:
        """Take a claim away."""
        self._topics.release(topic)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups of the topics' streams."""
        return self._topics.groups(topics)

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Take a group away: what it has not acknowledged keeps no stream from being trimmed any more."""
        self._topics.forget(topics, group)

    def close(self) -> None:
        """Let go of the connection that asks about topics."""
        self._topics.close()


def open_transport(url: str, options: Mapping[str, str]) -> RedisTransport:
    """Open the transport that a URL names."""
    return RedisTransport(url, options)
