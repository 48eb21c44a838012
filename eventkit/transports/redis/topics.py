"""Topics in Redis: a hash says how many shards a topic has; a shard is a stream, with a group for each group."""

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

CONSUMER = "owner"  # of every group: whoever owns a shard reads in this name
MISSING = "Redis does not have it: create it with `eventkit topics create`"
_TRIMMED = (
    "it was trimmed beyond what group {group} has read, so events are lost to it: let nothing but eventkit trim it, "
    "and rebuild the read model from the store"
)

# KEYS: stream. ARGV: group. A reader may come also where memory is full: it makes room.
_GROUP = """#!lua flags=allow-oom
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
"""
# KEYS: topic. ARGV: field, value if it has none. Returns what the field is: it is asked for also where memory is full.
_FIELD = """#!lua flags=allow-oom
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
"""


def topic_key(topic: str) -> str:
    """Return where a topic's number of shards is."""
    return f"eventkit:topic:{topic}"


def stream_key(topic: str, shard: int) -> str:
    """Return the stream of a shard."""
    return f"eventkit:stream:{topic}:{shard}"


def members_key(topic: str, group: str) -> str:
    """Return where the members of a group are that read a topic."""
    return f"eventkit:members:{topic}:{group}"


def owners_key(topic: str, group: str) -> str:
    """Return where the owners of a topic's shards are, in a group."""
    return f"eventkit:owners:{topic}:{group}"


@contextmanager
def redis_errors(address: RedisAddress) -> Iterator[None]:
    """Turn the client's errors into ours.

    A refusal is waited for as an absence is: a replica that will be the primary, too few replicas, no snapshot, no
    memory, no right. At the start of a process it is an error all the same.
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
    """Asks about topics and makes them, on a connection of its own."""

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
        """Create what is missing, its streams first: a topic that is there is whole."""
        with redis_errors(self._address):
            missing = [topic for topic in dict.fromkeys(topics) if not shards_of(self.client, topic)]
            for topic in missing:
                for shard in range(partitions):
                    self._group(topic, shard, "eventkit")  # makes the stream
                    self.client.xgroup_destroy(stream_key(topic, shard), "eventkit")
                self.client.hsetnx(topic_key(topic), "partitions", str(partitions))
        return missing

    def join(self, shards: Mapping[str, int], group: str) -> None:
        """Make sure of a group in every shard, at the earliest message; TopicUnusable where some are lost to it."""
        with redis_errors(self._address):
            for topic, count in shards.items():
                for shard in range(count):
                    self._group(topic, shard, group)
                    if self._was_trimmed(stream_key(topic, shard), group):
                        raise TopicUnusable({topic: _TRIMMED.format(group=group)})

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim topics that nobody has claimed; return whose each is."""
        holders = {}
        with redis_errors(self._address):
            for topic in topics:
                if shards_of(self.client, topic):
                    holders[topic] = self._field(topic, "relay", owner)
        return holders

    def release(self, topic: str) -> None:
        """Take a claim away."""
        with redis_errors(self._address):
            self.client.hdel(topic_key(topic), "relay")

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the identity of each topic, drawn for one that has none."""
        with redis_errors(self._address):
            return {topic: self._field(topic, "id", uuid4().hex) for topic in topics}

    def _field(self, topic: str, name: str, value: str) -> str:
        """Return a field of a topic, set to a value where it has none."""
        found: bytes = self._set_field(keys=[topic_key(topic)], args=[name, value])
        return found.decode()

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups of the topics' first shards: a group is in all of them."""
        with redis_errors(self._address):
            there = [topic for topic in topics if shards_of(self.client, topic)]
            return sorted({each["name"] for topic in there for each in groups_of(self.client, stream_key(topic, 0))})

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Take a group away from every shard; TransportError where it has members."""
        with redis_errors(self._address):
            seconds, _ = self.client.time()  # a member's score is when it is taken for dead, in milliseconds
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
        """Let go of the connection."""
        self.client.close()

    def _group(self, topic: str, shard: int, group: str) -> None:
        try:
            self._make_group(keys=[stream_key(topic, shard)], args=[group])
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _was_trimmed(self, stream: str, group: str) -> bool:
        """Whether entries are gone that the group has not read; one that has read nothing takes what is there."""
        told: Any = self.client.xinfo_stream(stream)
        read = next(each["entries-read"] for each in groups_of(self.client, stream) if each["name"] == group)
        return bool(read) and read < told["entries-added"] - told["length"]


def shards_of(client: Redis, topic: str) -> int:
    """Return how many shards a topic has; 0 when it is missing."""
    count: Any = client.hget(topic_key(topic), "partitions")
    return int(count or 0)


def groups_of(client: Redis, stream: str) -> list[dict[str, Any]]:
    """Return the groups of a stream, their names as text."""
    groups: Any = client.xinfo_groups(stream)
    return [{**group, "name": group["name"].decode()} for group in groups]


def place(entry: bytes | str) -> tuple[int, int]:
    """Return an entry's id as numbers, which can be compared."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    time, _, number = text.partition("-")
    return int(time), int(number or 0)


def range_of(client: Redis, stream: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the entries behind which a stream can be read: that before its first, and its last."""
    told: Any = client.xinfo_stream(stream)
    last = place(told["last-generated-id"])
    if told["entries-added"] == told["length"]:
        return (0, 0), last
    if not told["first-entry"]:
        return last, last
    time, number = place(told["first-entry"][0])
    return ((time, number - 1) if number else (time - 1, 2**63 - 1)), last
