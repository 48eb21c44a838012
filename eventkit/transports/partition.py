"""The partition of a key, computed as the Java client's default partitioner does, so that all Kafka clients agree.

It is computed here from a partition count that never changes under a running producer. The client's own partitioner
would follow a new count, and would split a stream without an error.
"""

import struct

_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C


def partition_of(key: str, count: int) -> int:
    """Return the partition of a key among `count`."""
    return (murmur2(key.encode()) & _POSITIVE) % count


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
