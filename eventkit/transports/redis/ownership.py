"""Who owns which shard of a group: a lease per shard, shared out evenly among the members that are alive.

Redis has no single active consumer, so order needs an owner (FACTS: its groups hand a stream's entries to anybody).
Members and leases live in Redis and expire on its clock; every read is conditional on the lease, in one script, so a
member that was away for too long takes nothing from its successor.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from redis import Redis

from eventkit.transports.redis.topics import CONSUMER, stream_key

Shard = tuple[str, int]

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

# KEYS: owners, stream. ARGV: member, shard, epoch, group, limit, from (an id of what is pending, or > for what is new).
# nil when the shard is not ours any more.
_READ = """
local now = redis.call('TIME')
local owner, expiry, epoch = string.match(redis.call('HGET', KEYS[1], ARGV[2]) or '', '^(.*)|(%d+)|(%d+)$')
if owner ~= ARGV[1] or epoch ~= ARGV[3] or tonumber(expiry) <= now[1] * 1000 + math.floor(now[2] / 1000) then
  return false
end
local found = redis.call('XREADGROUP', 'GROUP', ARGV[4], 'CONSUMER', 'COUNT', ARGV[5], 'STREAMS', KEYS[2], ARGV[6])
return found and found[1][2] or {}
""".replace("CONSUMER", CONSUMER)

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
        self._read = client.register_script(_READ)
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

    def read(self, shard: Shard, epoch: int, start: str, limit: int) -> list[Any] | None:
        """Return entries of a shard: pending ones above an id, or new ones (`>`); None when it is not ours any more."""
        topic, number = shard
        keys = [self._owners(topic), stream_key(topic, number)]
        found: list[Any] | None = self._call(self._read, keys, [self._me, number, epoch, self._group, limit, start])
        return found

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

    def _members(self, topic: str) -> str:
        return f"eventkit:members:{topic}:{self._group}"

    def _owners(self, topic: str) -> str:
        return f"eventkit:owners:{topic}:{self._group}"

    @staticmethod
    def _call(script: Any, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401 a script's answer
        return script(keys=keys, args=arguments)
