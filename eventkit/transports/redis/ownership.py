"""Who owns which shard of a group: a lease per shard, shared out evenly among the members that are alive.

Redis has no single active consumer, so order needs an owner (FACTS: its groups hand a stream's entries to anybody).
Members and leases live in Redis and expire on its clock; every read is conditional on the lease, in one transaction, so
a member that was away for too long takes nothing from its successor.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from redis import Redis
from redis.exceptions import WatchError

from eventkit.transports.redis.topics import CONSUMER, stream_key

Shard = tuple[str, int]


class Wanted(NamedTuple):
    """From where on a shard is to be read, in which epoch of its lease."""

    epoch: int
    start: str  # an entry's id, for what is pending above it, or `>` for what is new


# KEYS: members (sorted by expiry), owners (shard -> member|expiry|epoch). ARGV: member, time to live in ms, number of
# shards. The members that are alive, in order of name, get the shards in turn. A shard that should be another's is kept
# until its owner lets it go; a free one that should be ours is taken, in a new epoch: somebody else may have read it in
# between. Returns shard, epoch and whether it is ours by right, for each that we own.
_SHARE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local me, ttl, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], ms + ttl, me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(members)
local owned = {}
for shard = 0, count - 1 do
  local target = members[shard % #members + 1]
  local owner, expiry, epoch = string.match(redis.call('HGET', KEYS[2], shard) or '', '^(.*)|(%d+)|(%d+)$')
  if owner and tonumber(expiry) <= ms then owner = nil end
  if not owner and target == me then
    owner, epoch = me, redis.call('HINCRBY', KEYS[2], 'epoch', 1)
  end
  if owner == me then
    redis.call('HSET', KEYS[2], shard, me .. '|' .. string.format('%d', ms + ttl) .. '|' .. epoch)
    owned[#owned + 1] = {shard, tonumber(epoch), target == me and 1 or 0}
  end
end
return owned
"""

# KEYS: owners. ARGV: member, shards.
_RELEASE = """
for at = 2, #ARGV do
  local lease = redis.call('HGET', KEYS[1], ARGV[at])
  if lease and string.match(lease, '^(.*)|%d+|%d+$') == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
"""


class Ownership:
    """One member's shares, over the caller's client, which threads may share."""

    def __init__(self, client: Redis, shards: Mapping[str, int], group: str, *, seconds: float) -> None:
        self._client = client
        self._shards = shards
        self._group = group
        self._ttl = int(seconds * 1000)
        self._me = uuid4().hex
        self._share = client.register_script(_SHARE)
        self._release = client.register_script(_RELEASE)

    def share(self) -> tuple[dict[Shard, int], set[Shard]]:
        """Renew what is ours and take what is free and should be.

        Return what we own, each with the epoch of its lease, and what of it should be another's.
        """
        owned: dict[Shard, int] = {}
        excess: set[Shard] = set()
        for topic, count in self._shards.items():
            keys = [self._members(topic), self._owners(topic)]
            for number, epoch, ours in self._call(self._share, keys, [self._me, self._ttl, count]):
                owned[topic, number] = epoch
                if not ours:
                    excess.add((topic, number))
        return owned, excess

    def read(self, topic: str, wanted: Mapping[int, Wanted], limit: int) -> dict[int, list[Any] | None]:
        """Return up to `limit` entries of each of these shards; None for one that is not ours any more.

        Not by a script: it would turn every entry into a table and back, which takes longer than reading it.
        """
        owners, streams = self._owners(topic), {number: stream_key(topic, number) for number in wanted}
        with self._client.pipeline() as transaction:
            while True:
                transaction.watch(owners)  # type: ignore[no-untyped-call]
                leases: Any = transaction.hmget(owners, [str(number) for number in wanted])
                starts: dict[Any, Any] = {
                    streams[number]: want.start
                    for (number, want), lease in zip(wanted.items(), leases, strict=True)
                    if self._is_ours(lease, want.epoch)
                }
                if not starts:
                    return dict.fromkeys(wanted)
                transaction.multi()
                transaction.xreadgroup(self._group, CONSUMER, starts, count=limit)
                try:
                    found = dict(transaction.execute()[0])
                except WatchError:
                    continue  # a lease was renewed, or taken
                return {
                    number: found.get(stream.encode(), []) if stream in starts else None
                    for number, stream in streams.items()
                }

    def release(self, shards: set[Shard]) -> None:
        """Let shards go."""
        for topic in {topic for topic, _ in shards}:
            numbers = [number for each, number in shards if each == topic]
            self._call(self._release, [self._owners(topic)], [self._me, *numbers])

    def leave(self) -> None:
        """Leave the group, with all that is owned."""
        self.release({(topic, number) for topic, count in self._shards.items() for number in range(count)})
        for topic in self._shards:
            self._client.zrem(self._members(topic), self._me)

    def _is_ours(self, lease: bytes | None, epoch: int) -> bool:
        """Whether a lease is the one that we know: also if it has expired, while nobody has taken the shard."""
        owner, _, known = (lease or b"||").decode().split("|")
        return owner == self._me and known == str(epoch)

    def _members(self, topic: str) -> str:
        return f"eventkit:members:{topic}:{self._group}"

    def _owners(self, topic: str) -> str:
        return f"eventkit:owners:{topic}:{self._group}"

    @staticmethod
    def _call(script: Any, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401 a script's answer
        return script(keys=keys, args=arguments)
