"""The owner of each shard of a group: a lease per shard, distributed evenly among the live members.

A Redis consumer group gives a stream's entries to any consumer that asks, so the order of a shard needs a single owner.
Members and leases are kept in Redis and expire on its clock. Every read depends on the lease, in one transaction, so a
member that returns after its lease expired takes no entries from the new owner.

A server with full memory refuses every command that may need more, also a transaction. The scripts have `allow-oom`,
because only readers free memory.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from redis import Redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import OutOfMemoryError, WatchError

from eventkit.transports.redis.topics import CONSUMER, members_key, owners_key, stream_key

Shard = tuple[str, int]


class ShardStart(NamedTuple):
    """The place to read a shard from, and the epoch of its lease."""

    epoch: int
    start: str  # an entry's id for the pending entries after it, or `>` for new entries


# KEYS: members (sorted by expiry), owners (shard -> member|expiry|epoch). ARGV: member, time to live in ms, number of
# shards. The live members, in order of name, are the targets of the shards in turn. An owner keeps a shard until it
# releases it. The target takes a free shard in a new epoch, since another member may have read it in between.
# Returns shard, epoch and whether this member is the target, for each shard that it owns; with epoch 0 each shard whose
# target it is and that another member still owns.
_SHARE = """#!lua flags=allow-oom
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
  elseif target == me then
    owned[#owned + 1] = {shard, 0, 1}
  end
end
return owned
"""

# KEYS: owners. ARGV: member, shards.
_RELEASE = """#!lua flags=allow-oom
for at = 2, #ARGV do
  local lease = redis.call('HGET', KEYS[1], ARGV[at])
  if lease and string.match(lease, '^(.*)|%d+|%d+$') == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
"""

# KEYS: owners, streams. ARGV: member, group, consumer, limit, and for each stream its shard, the lease's epoch and the
# id to read from. Returns the entries of each stream, or false for a stream with another lease.
_READ_FULL = """#!lua flags=allow-oom
local found = {}
for at = 2, #KEYS do
  local shard, epoch, start = ARGV[3 * at - 1], ARGV[3 * at], ARGV[3 * at + 1]
  local owner, _, known = string.match(redis.call('HGET', KEYS[1], shard) or '', '^(.*)|(%d+)|(%d+)$')
  found[at - 1] = false
  if owner == ARGV[1] and known == epoch then
    local streams = redis.call(
      'XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[at], start)
    found[at - 1] = streams and streams[1][2] or {}
  end
end
return found
"""


class Ownership:
    """One member's shards, with the caller's client, which threads may share."""

    def __init__(self, client: Redis, shards: Mapping[str, int], group: str, *, seconds: float) -> None:
        self._client = client
        self._shards = shards
        self._group = group
        self._ttl = int(seconds * 1000)
        self._me = uuid4().hex
        self.complete = False  # whether this member owned all its target shards at the last renewal
        self._share = client.register_script(_SHARE)
        self._release = client.register_script(_RELEASE)
        self._read_full = client.register_script(_READ_FULL)

    def share(self) -> tuple[dict[Shard, int], set[Shard]]:
        """Renew this member's leases and take its free target shards.

        Return the owned shards, each with the epoch of its lease, and those of them whose target is another member.
        """
        owned: dict[Shard, int] = {}
        excess: set[Shard] = set()
        complete = True
        for topic, count in self._shards.items():
            keys = [self._members(topic), self._owners(topic)]
            for number, epoch, is_target in self._call(self._share, keys, [self._me, self._ttl, count]):
                if not epoch:
                    complete = False
                    continue
                owned[topic, number] = epoch
                if not is_target:
                    excess.add((topic, number))
        self.complete = complete
        return owned, excess

    def read(self, topic: str, wanted: Mapping[int, ShardStart], limit: int) -> dict[int, list[Any] | None]:
        """Return up to `limit` entries of each of these shards; None for one that has another lease.

        After an error Redis may have delivered entries that were not received: read the pending ones from the start.
        """
        try:
            return self._transact(topic, wanted, limit)
        except OutOfMemoryError:
            return self._script(topic, wanted, limit)

    def _transact(self, topic: str, wanted: Mapping[int, ShardStart], limit: int) -> dict[int, list[Any] | None]:
        """Read in a transaction: a script would turn every entry into a table and back, and take twice as long."""
        owners, streams = self._owners(topic), {number: stream_key(topic, number) for number in wanted}
        with self._client.pipeline() as transaction:
            while True:
                try:
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
                    found = dict(transaction.execute()[0])
                except WatchError as error:
                    _refuse_doubt(error)
                    continue  # a lease was renewed or taken
                return {
                    number: found.get(stream.encode(), []) if stream in starts else None
                    for number, stream in streams.items()
                }

    def _script(self, topic: str, wanted: Mapping[int, ShardStart], limit: int) -> dict[int, list[Any] | None]:
        keys = [self._owners(topic), *(stream_key(topic, number) for number in wanted)]
        arguments: list[Any] = [self._me, self._group, CONSUMER, limit]
        for number, want in wanted.items():
            arguments += [number, want.epoch, want.start]
        found = self._call(self._read_full, keys, arguments)
        return {number: _entries(each) for number, each in zip(wanted, found, strict=True)}

    def release(self, shards: set[Shard]) -> None:
        """Release the leases of shards."""
        for topic in {topic for topic, _ in shards}:
            numbers = [number for each, number in shards if each == topic]
            self._call(self._release, [self._owners(topic)], [self._me, *numbers])

    def release_all(self) -> None:
        """Release the leases of all shards; a shard that is taken again gets a new epoch."""
        self.release({(topic, number) for topic, count in self._shards.items() for number in range(count)})

    def leave(self) -> None:
        """Release all leases and leave the group."""
        self.release_all()
        for topic in self._shards:
            self._client.zrem(self._members(topic), self._me)

    def _is_ours(self, lease: bytes | None, epoch: int) -> bool:
        """Return whether this member has the lease in that epoch, even an expired one that no member has taken."""
        owner, _, known = (lease or b"||").decode().split("|")
        return owner == self._me and known == str(epoch)

    def _members(self, topic: str) -> str:
        return members_key(topic, self._group)

    def _owners(self, topic: str) -> str:
        return owners_key(topic, self._group)

    @staticmethod
    def _call(script: Any, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401 a script's answer
        return script(keys=keys, args=arguments)


def _refuse_doubt(error: WatchError) -> None:
    """Raise if the connection died: the client raises WatchError then, as for a renewed lease.

    The server may have executed the read. The entries are pending then, and a read of new entries never returns them.
    """
    reason = error.__cause__ or error.__context__
    if reason is not None:
        raise Disconnected(str(reason)) from error


def _entries(found: Any) -> list[Any] | None:  # noqa: ANN401 a script's answer
    if found is None:
        return None
    return [(entry, dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}) for entry, fields in found]
