"""Names in the database that are not those of a table, and the shards of streams."""

from zlib import crc32

DEFAULT_SCHEMA = "eventkit"
VERSION_TABLE = "eventkit_version"
REVISIONS = ("eventkit_0001",)  # all migrations, oldest first; a database must be at the last one
MAINTENANCE_ROLE = "eventkit_maintenance"
SHARDS = 256


def shard_of(stream: str) -> int:
    """Return the shard of a stream, as `outbox` and `timers` have it."""
    return crc32(stream.encode()) % SHARDS
