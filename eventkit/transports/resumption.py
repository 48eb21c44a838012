"""The topics of one subscription with their identities, and the places to resume at; used by Kafka and Redis."""

from collections.abc import Mapping
from typing import NamedTuple

from eventkit.transports.base import Range, Resume

Shard = tuple[str, int]
Place = tuple[int, ...]


class Resumption(NamedTuple):
    """The identity of each topic, and the function that returns where to resume; None: the broker decides."""

    topics: Mapping[str, str]
    resume: Resume | None = None

    def starts(self, ranges: Mapping[Shard, tuple[Place, Place]]) -> Mapping[Shard, Place]:
        """Return the place at which to read each shard, given its lowest and highest place."""
        if self.resume is None or not ranges:
            return {}
        return self.resume([Range(*shard, self.topics[shard[0]], low, high) for shard, (low, high) in ranges.items()])
