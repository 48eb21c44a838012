"""Keeps streams from growing for ever: what every group has acknowledged and is older than the retention goes.

Never anything that a group has not acknowledged; a group that comes later finds what the retention has kept.
"""

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from eventkit.transports.redis.ownership import Shard
from eventkit.transports.redis.topics import groups_of, place, stream_key

_EVERY = 30.0  # seconds


class Trimming:
    """Looks now and then."""

    def __init__(self, client: Redis, retention: float) -> None:
        self._client = client
        self._retention = retention
        self._looked = time.monotonic()

    def look(self, shards: Sequence[Shard]) -> None:
        """Trim the shards that are ours, when it is time to."""
        if time.monotonic() - self._looked > _EVERY:
            self._looked = time.monotonic()
            for shard in shards:
                self.trim(stream_key(*shard))

    def trim(self, stream: str) -> None:
        """Trim one stream."""
        seconds, _ = self._client.time()
        keep = (int((float(seconds) - self._retention) * 1000), 0)
        for group in groups_of(self._client, stream):
            keep = min(keep, self._first_needed(stream, group))
        if keep > (0, 0):
            self._client.xtrim(stream, minid=f"{keep[0]}-{keep[1]}", approximate=True)

    def _first_needed(self, stream: str, group: dict[str, Any]) -> tuple[int, int]:
        pending: Any = self._client.xpending(stream, group["name"]) if group["pending"] else {}
        return place(pending["min"]) if pending.get("min") else place(group["last-delivered-id"])
