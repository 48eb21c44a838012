"""One member of a group. It takes and releases shards within `receive`; a thread renews their leases.

The new owner of a shard first reads the entries that the last owner had not acknowledged, then the new ones.

Redis limits an answer by the number of entries, and their sizes are known only afterwards. So the member asks for few
entries at once: as many as fit into a batch by the sizes of the last answers.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from operator import is_
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import RedisError

from eventkit.domain.message import Message, size_of
from eventkit.domain.structured import opened
from eventkit.transports.base import MAX_BYTES, Mark
from eventkit.transports.json_headers import headers_from_json
from eventkit.transports.received import unreadable
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.ownership import Ownership, Shard, ShardStart
from eventkit.transports.redis.topics import groups_of, place, range_of, redis_errors, stream_key
from eventkit.transports.redis.trimming import Trimming
from eventkit.transports.resumption import Resumption

logger = logging.getLogger("eventkit.redis")

_SHARE_INTERVAL = 0.25  # seconds between two renewals of the shares
_IDLE_INTERVAL = 0.05  # the same, for a member without a shard
_PENDING_PAGE = 1_000  # pending entries listed at once
MOST = 80  # entries of one request: 70 MB of the largest, and as much again in the client that reads them
_SIZE_DECAY = 0.75  # weight of the largest size seen, after each answer
_NEW = ">"


class RedisDelivery(NamedTuple):
    """A delivery's tag."""

    shard: int
    entry: bytes


class OwnedShard(msgspec.Struct):
    """An owned shard: the id to read from, and the delivered, unacknowledged entries by key, in order."""

    epoch: int  # of the lease
    last: str  # the highest known entry: new entries have higher ids
    start: str = "0"  # the pending entries come first, in order
    taken: int = 0  # number of entries, so that all shards get their turn
    open: dict[str, list[bytes]] = msgspec.field(default_factory=lambda: defaultdict(list))


class RedisSubscription:
    """See `Subscription`."""

    is_new = False  # a new group gets all earlier messages

    def __init__(self, address: RedisAddress, shards: Mapping[str, int], group: str, places: Resumption) -> None:
        self._address = address
        self._places = places
        self._group = group
        self._client = address.client()
        self._ownership = Ownership(self._client, shards, group, seconds=address.session)
        self._held: dict[Shard, OwnedShard] = {}
        self._fresh: list[Message] = []  # delivered since the last acknowledgement, and not yet recorded as open
        self._size = float(MAX_BYTES)  # of the largest recent value; at first one entry is read at a time
        self._shared = 0.0  # time of the last renewal
        self._doubted = False  # whether Redis may have executed a command that it did not answer
        self._trimming = Trimming(self._client, address.retention)
        self._closed = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="redis leases", daemon=True)
        self._renewer.start()

    @property
    def ready(self) -> bool:
        """Whether it owns all its target shards, and has read their pending entries."""
        return self._ownership.complete and all(owned.start == _NEW for owned in self._held.values())

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        deadline = time.monotonic() + timeout
        with redis_errors(self._address), self._releasing_on_error():
            while True:
                self._trimming.trim_when_due(list(self._held))
                self._share()
                found = self._fetch(limit)
                left = deadline - time.monotonic()
                if found or left <= 0:
                    self._fresh += found
                    return found
                self._wait_for_entries(min(left, _SHARE_INTERVAL))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge these and the earlier ones of their keys."""
        done = self._acknowledge_all(messages) or self._acknowledge_some(messages)
        try:
            with self._releasing_on_error():
                self._settle(done)
        except RedisError as error:
            logger.warning(
                "an acknowledgement was lost, its messages are delivered again: %s", self._address.safe(error)
            )

    @contextmanager
    def _releasing_on_error(self) -> Iterator[None]:
        """Release every shard at an error: Redis may have executed an unanswered command, or may do so later.

        A shard that is taken again has a new epoch, in which a late read returns nothing. It begins with the pending
        entries, so that no delivered entry is skipped.
        """
        try:
            yield
        except BaseException:
            self._held.clear()
            self._fresh = []
            self._shared, self._doubted = 0.0, True
            raise

    def _acknowledge_all(self, messages: Sequence[Message]) -> dict[Shard, list[bytes]]:
        """Return all delivered entries, if these are all of them and no others are open: the usual case."""
        fresh, done = self._fresh, defaultdict[Shard, list[bytes]](list)
        everything = len(messages) == len(fresh) and all(map(is_, messages, fresh))
        if everything and not any(owned.open for owned in self._held.values()):
            self._fresh = []
            for message in messages:
                shard, entry = message.tag
                done[message.topic, shard].append(entry)
        return done

    def _acknowledge_some(self, messages: Sequence[Message]) -> dict[Shard, list[bytes]]:
        for message in self._fresh:
            self._held[message.topic, message.tag.shard].open[message.key].append(message.tag.entry)
        self._fresh, done = [], defaultdict[Shard, list[bytes]](list)
        for message in messages:
            shard = message.topic, message.tag.shard
            owned = self._held.get(shard)
            waiting = owned.open.get(message.key, []) if owned else []
            if owned and message.tag.entry in waiting:
                upto = waiting.index(message.tag.entry) + 1
                done[shard] += waiting[:upto]
                owned.open[message.key] = waiting[upto:]
                if not owned.open[message.key]:
                    del owned.open[message.key]
        return done

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the entries of these messages that are the last of their shards."""
        last = {(message.topic, message.tag.shard): message.tag.entry for message in messages}
        return [Mark(*shard, self._places.topics[shard[0]], place(entry)) for shard, entry in last.items()]

    def close(self) -> None:
        """Leave the group."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._renewer.join(5)
        try:
            self._ownership.leave()
        except RedisError as error:
            logger.warning("could not release the shards, their leases expire soon: %s", self._address.safe(error))
        self._client.close()

    def _share(self) -> None:
        if time.monotonic() - self._shared < _SHARE_INTERVAL:
            return
        if self._doubted:
            self._ownership.release_all()
            self._doubted = False
        owned, excess = self._ownership.share()
        if excess:
            self._ownership.release(excess)
        self._shared = time.monotonic()
        for shard in [shard for shard, held in self._held.items() if owned.get(shard) != held.epoch or shard in excess]:
            self._lose(shard)
        for shard, last in self._begin(owned.keys() - excess - self._held.keys()).items():
            self._held[shard] = OwnedShard(owned[shard], last)

    def _begin(self, shards: AbstractSet[Shard]) -> dict[Shard, str]:
        """Move the group in each shard to the place to resume at; return the group's last entry in each."""
        starts: Mapping[Shard, tuple[int, ...]] = {}
        if shards and self._places.resume:
            starts = self._places.starts({shard: range_of(self._client, stream_key(*shard)) for shard in shards})
        for shard, start in starts.items():
            self._move(stream_key(*shard), "-".join(map(str, start)))
        return {shard: self._last_delivered(shard) for shard in shards}

    def _move(self, stream: str, start: str) -> None:
        """Move the group behind an entry: earlier entries were applied, later ones are delivered again."""
        group = next(each for each in groups_of(self._client, stream) if each["name"] == self._group)
        if group["last-delivered-id"].decode() == start and not group["pending"]:
            return
        self._client.xgroup_setid(stream, self._group, start)
        while pending := self._client.xpending_range(stream, self._group, "-", "+", _PENDING_PAGE):
            entries: list[Any] = [each["message_id"] for each in pending]
            self._client.xack(stream, self._group, *entries)

    def _lose(self, shard: Shard) -> None:
        del self._held[shard]
        self._fresh = [message for message in self._fresh if (message.topic, message.tag.shard) != shard]

    def _fetch(self, limit: int) -> list[Message]:
        found: list[Message] = []
        size = 0
        due = sorted(self._held, key=lambda shard: self._held[shard].taken)
        while due and len(found) < limit and size < MAX_BYTES:
            fitting = int((MAX_BYTES - size) / (self._size + 1))
            most = max(1, min(limit - len(found), MOST, fitting))
            some = [shard for shard in due if shard[0] == due[0][0]][:most]
            messages, full = self._read(some, most // len(some))
            sizes = [size_of(message) for message in messages]
            found += messages
            size += sum(sizes)
            self._size = max([self._size * _SIZE_DECAY, *sizes])
            due = [shard for shard in due if shard not in some or shard in full]
        return found

    def _read(self, shards: Sequence[Shard], count: int) -> tuple[list[Message], set[Shard]]:
        """Read up to `count` entries of each of one topic's shards; return them and the shards that may have more."""
        topic = shards[0][0]
        wanted = {shard[1]: ShardStart(self._held[shard].epoch, self._held[shard].start) for shard in shards}
        messages: list[Message] = []
        full: set[Shard] = set()
        for number, entries in self._ownership.read(topic, wanted, count).items():
            shard = topic, number
            if entries is None:  # another member has, or had, the lease
                self._lose(shard)
                self._shared = 0.0
                continue
            messages += self._taken(shard, entries)
            if len(entries) == count:
                full.add(shard)
        return messages, full

    def _taken(self, shard: Shard, entries: Sequence[Any]) -> list[Message]:
        owned, messages = self._held[shard], []
        for entry, fields in entries:
            if not fields:  # another program trimmed it while it was pending: eventkit never does
                logger.error("entry %s of %s was deleted before it was acknowledged", entry, stream_key(*shard))
                continue
            messages.append(message_of(shard, entry, fields))
        owned.taken += len(entries)
        last = entries[-1][0].decode() if entries else _NEW  # entries come in order
        if entries:
            owned.last = max(owned.last, last, key=place)
        if owned.start != _NEW:
            owned.start = last
        return messages

    def _wait_for_entries(self, seconds: float) -> None:
        if any(owned.start != _NEW for owned in self._held.values()):
            return  # a shard may have more pending entries
        streams: dict[Any, Any] = {stream_key(*shard): owned.last for shard, owned in self._held.items()}
        if streams:
            self._client.xread(streams, count=1, block=max(1, int(seconds * 1000)))
        else:
            self._closed.wait(min(seconds, _IDLE_INTERVAL))

    def _last_delivered(self, shard: Shard) -> str:
        groups = groups_of(self._client, stream_key(*shard))
        return next(str(group["last-delivered-id"].decode()) for group in groups if group["name"] == self._group)

    def _settle(self, done: Mapping[Shard, Sequence[bytes]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for shard, entries in done.items():
            pipeline.xack(stream_key(*shard), self._group, *entries)
        pipeline.execute()

    def _renew(self) -> None:
        while not self._closed.wait(self._address.session / 3):
            try:
                self._ownership.share()
            except RedisError as error:
                logger.warning("could not renew the leases of shards: %s", self._address.safe(error))


def message_of(shard: Shard, entry: bytes, fields: Mapping[bytes, bytes]) -> Message:
    """Return the message of an entry."""
    topic, tag = shard[0], RedisDelivery(shard[1], entry)
    try:
        headers = headers_from_json(fields[b"headers"])
        return opened(Message(topic, fields[b"key"].decode(), fields[b"value"], headers, tag))
    except KeyError as error:
        reason = f"its entry has no field {error}"
    except UnicodeDecodeError:
        reason = "its key is not UTF-8"
    except ValueError as error:
        reason = str(error)
    others = [(name, part) for name, part in fields.items() if name not in (b"key", b"value")]
    return unreadable(topic, reason, key=fields.get(b"key"), value=fields.get(b"value", b""), others=others, tag=tag)
