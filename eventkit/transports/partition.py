"""The partition of a key, computed as the Java client's default partitioner does, so that all Kafka clients agree.

It is computed here from a partition count that never changes under a running producer. The client's own partitioner
would follow a new count, and would split a stream without an error.
"""

import struct
from collections.abc import Callable

MAX_KEYS = 200_000  # keys whose place is cached
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C


def partition_of(key: str, count: int) -> int:
    """Return the partition of a key among `count`."""
    return (murmur2(key.encode()) & _POSITIVE) % count


class ShardNames:
    """The broker's names of the shards of keys, cached: computing a key's shard takes longer than looking it up."""

    def __init__(self, name_of: Callable[[str, int], str]) -> None:
        """Name a shard by `name_of`, from its topic and its number."""
        self._name_of = name_of
        self._known: dict[tuple[str, str], str] = {}

    def of(self, topic: str, key: str, count: int) -> str:
        """Return the name of a key's shard among the `count` shards of a topic."""
        name = self._known.get((topic, key))
        if name is None:
            if len(self._known) >= MAX_KEYS:
                self._known.clear()
            name = self._known[topic, key] = self._name_of(topic, partition_of(key, count))
        return name


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 hash as an unsigned number (org.apache.kafka.common.utils.Utils.murmur2)."""
    length = len(data)
    result = (_SEED ^ length) & _MASK
    whole = length & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        mixed = word * _MULTIPLIER & _MASK
        result = (result * _MULTIPLIER & _MASK) ^ ((mixed ^ mixed >> 24) * _MULTIPLIER & _MASK)
    if length != whole:
        result = (result ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    result = (result ^ result >> 13) * _MULTIPLIER & _MASK
    return result ^ result >> 15
