"""Topics in Redis: a hash has the number of shards; a shard is a stream, with a Redis group for each group."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from eventkit.errors import TopicUnusable, TransportError, TransportUnavailable
from eventkit.transports.redis.address import RedisAddress

CONSUMER = "owner"  # the only consumer of every group: each owner of a shard reads under this name
MISSING = "Redis does not have it: create it with `eventkit topics create`"
_TRIMMED = (
    "it was trimmed beyond what group {group} has read, so the group has lost events: stop other programs from "
    "trimming it, and rebuild the read model from the store"
)

# KEYS: stream. ARGV: group. A reader may join while memory is full, because it frees memory.
_GROUP = """#!lua flags=allow-oom
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
"""
# KEYS: topic. ARGV: field, value for a missing field. Returns the field's value, also while memory is full.
_FIELD = """#!lua flags=allow-oom
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
"""


def topic_key(topic: str) -> str:
    """Return the key of a topic's hash."""
    return f"eventkit:topic:{topic}"


def stream_key(topic: str, shard: int) -> str:
    """Return the key of a shard's stream."""
    return f"eventkit:stream:{topic}:{shard}"


def members_key(topic: str, group: str) -> str:
    """Return the key of the members of a group that read a topic."""
    return f"eventkit:members:{topic}:{group}"


def owners_key(topic: str, group: str) -> str:
    """Return the key of the owners of a topic's shards in a group."""
    return f"eventkit:owners:{topic}:{group}"


@contextmanager
def redis_errors(address: RedisAddress) -> Iterator[None]:
    """Turn the client's errors into eventkit's.

    A refusal counts as unavailable, so a running process retries: a replica before its promotion, too few replicas, a
    failed snapshot, full memory, no right. At the start of a process it is an error.
    """
    try:
        yield
    except (Disconnected, TimedOut) as error:
        raise TransportUnavailable(f"no answer from Redis at {address.hosts}: {address.safe(error)}") from error
    except ResponseError as error:
        raise TransportUnavailable(f"Redis at {address.hosts} refuses: {address.safe(error)}") from error
    except RedisError as error:
        raise TransportError(f"Redis at {address.hosts}: {address.safe(error)}") from error


class RedisTopics:
    """Reads and creates topics, on its own connection."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self.client: Redis = address.client()
        self._make_group: Any = self.client.register_script(_GROUP)
        self._set_field: Any = self.client.register_script(_FIELD)

    def require(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has; TopicUnusable when one is missing."""
        with redis_errors(self._address):
            found = {topic: shards_of(self.client, topic) for topic in topics}
        missing = {topic: MISSING for topic, shards in found.items() if not shards}
        if missing:
            raise TopicUnusable(missing)
        return found

    def create(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics, each with its streams first, so that an existing topic is complete."""
        with redis_errors(self._address):
            missing = [topic for topic in dict.fromkeys(topics) if not shards_of(self.client, topic)]
            for topic in missing:
                for shard in range(partitions):
                    self._group(topic, shard, "eventkit")  # creates the stream
                    self.client.xgroup_destroy(stream_key(topic, shard), "eventkit")
                self.client.hsetnx(topic_key(topic), "partitions", str(partitions))
        return missing

    def join(self, shards: Mapping[str, int], group: str) -> None:
        """Create a missing group in every shard, at the earliest entry; TopicUnusable if it has lost entries."""
        with redis_errors(self._address):
            for topic, count in shards.items():
                for shard in range(count):
                    self._group(topic, shard, group)
                    if self._was_trimmed(stream_key(topic, shard), group):
                        raise TopicUnusable({topic: _TRIMMED.format(group=group)})

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics; return the owner of each topic that exists."""
        holders = {}
        with redis_errors(self._address):
            for topic in topics:
                if shards_of(self.client, topic):
                    holders[topic] = self._field(topic, "relay", owner)
        return holders

    def release(self, topic: str) -> None:
        """Remove a claim."""
        with redis_errors(self._address):
            self.client.hdel(topic_key(topic), "relay")

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the identity of each topic; a topic without one gets a random one."""
        with redis_errors(self._address):
            return {topic: self._field(topic, "id", uuid4().hex) for topic in topics}

    def _field(self, topic: str, name: str, value: str) -> str:
        """Return a field of a topic, after setting a missing one to `value`."""
        found: bytes = self._set_field(keys=[topic_key(topic)], args=[name, value])
        return found.decode()

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups of the topics' first shards; a group is on all shards."""
        with redis_errors(self._address):
            there = [topic for topic in topics if shards_of(self.client, topic)]
            return sorted({each["name"] for topic in there for each in groups_of(self.client, stream_key(topic, 0))})

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Remove a group from every shard; TransportError when it has members."""
        with redis_errors(self._address):
            seconds, _ = self.client.time()  # a member's score is its expiry, in milliseconds
            for topic in topics:
                if self.client.zcount(members_key(topic, group), seconds * 1000, "+inf"):
                    raise TransportError(f"group {group!r} has members, which read {topic!r}")
                self.client.delete(members_key(topic, group), owners_key(topic, group))
                for shard in range(shards_of(self.client, topic)):
                    self.client.xgroup_destroy(stream_key(topic, shard), group)

    def version(self) -> str:
        """Return the server's release."""
        with redis_errors(self._address):
            return str(self.client.info("server")["redis_version"])

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _group(self, topic: str, shard: int, group: str) -> None:
        try:
            self._make_group(keys=[stream_key(topic, shard)], args=[group])
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _was_trimmed(self, stream: str, group: str) -> bool:
        """Return whether unread entries of a group were trimmed; a group that has read nothing counts as complete."""
        info: Any = self.client.xinfo_stream(stream)
        read = next(each["entries-read"] for each in groups_of(self.client, stream) if each["name"] == group)
        return bool(read) and read < info["entries-added"] - info["length"]


def shards_of(client: Redis, topic: str) -> int:
    """Return how many shards a topic has; 0 for a missing topic."""
    count: Any = client.hget(topic_key(topic), "partitions")
    return int(count or 0)


def groups_of(client: Redis, stream: str) -> list[dict[str, Any]]:
    """Return the groups of a stream, with their names as text."""
    groups: Any = client.xinfo_groups(stream)
    return [{**group, "name": group["name"].decode()} for group in groups]


def place(entry: bytes | str) -> tuple[int, int]:
    """Return an entry's id as numbers, for comparison."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    time, _, number = text.partition("-")
    return int(time), int(number or 0)


def range_of(client: Redis, stream: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the ids after which a stream can be read: the one before its first entry, and its last."""
    info: Any = client.xinfo_stream(stream)
    last = place(info["last-generated-id"])
    if info["entries-added"] == info["length"]:
        return (0, 0), last
    if not info["first-entry"]:
        return last, last
    time, number = place(info["first-entry"][0])
    return ((time, number - 1) if number else (time - 1, 2**63 - 1)), last
