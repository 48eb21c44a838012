"""Trims streams: removes entries that are older than the retention and that every group has acknowledged.

An entry that a group has not acknowledged is never removed. A new group gets the entries within the retention.
"""

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from eventkit.transports.redis.ownership import Shard
from eventkit.transports.redis.topics import groups_of, place, stream_key

_TRIM_INTERVAL = 30.0  # seconds


class Trimming:
    """Trims a member's streams at an interval."""

    def __init__(self, client: Redis, retention: float) -> None:
        self._client = client
        self._retention = retention
        self._trimmed = time.monotonic()

    def trim_when_due(self, shards: Sequence[Shard]) -> None:
        """Trim the streams of these shards, if the last trim was more than 30 seconds ago."""
        if time.monotonic() - self._trimmed > _TRIM_INTERVAL:
            self._trimmed = time.monotonic()
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
