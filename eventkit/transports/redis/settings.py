"""Checks the server's settings: each is safe, or loses confirmed messages, with the reason."""

from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from eventkit.transports.base import Finding
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.topics import redis_errors

LARGEST = 512 * 1024 * 1024  # bytes of one value, by default


def findings(client: Redis, address: RedisAddress) -> list[Finding]:
    """Return a finding for each checked setting of the server."""
    with redis_errors(address):
        persistence, memory = client.info("persistence"), client.info("memory")
        fsync = setting(client, "appendfsync") or "not reported"
    policy = str(memory.get("maxmemory_policy", "not reported"))
    return [
        Finding(
            "appendonly",
            "yes" if persistence.get("aof_enabled") else "no",
            "yes",
            safe=bool(persistence.get("aof_enabled")),
            reason="without an append-only file a crash loses confirmed messages",
        ),
        Finding(
            "appendfsync",
            fsync,
            address.fsync,
            safe=fsync in {"always", address.fsync} or address.fsync == "everysec",
            reason="a crash may lose the last second; accept it with the transport option appendfsync=everysec",
        ),
        Finding(
            "maxmemory-policy",
            policy,
            "noeviction",
            safe=policy == "noeviction" or not memory.get("maxmemory"),
            reason="with eviction Redis drops whole streams when its memory is full",
        ),
    ]


def setting(client: Redis, name: str) -> str | None:
    """Return one setting; None if the server does not report its settings."""
    try:
        found: Any = client.config_get(name)
    except ResponseError:
        return None
    return str(found[name]) if name in found else None


def largest_value(client: Redis) -> int:
    """Return the largest size of a value, in bytes."""
    return int(setting(client, "proto-max-bulk-len") or LARGEST)
