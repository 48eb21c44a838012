"""The topics of one subscription by their identities, and where to resume reading them: what Kafka and Redis share."""

from collections.abc import Mapping
from typing import NamedTuple

from eventkit.transports.base import Range, Resume

Shard = tuple[str, int]
Place = tuple[int, ...]


class Resumption(NamedTuple):
    """The identity of each topic, and who says where to resume; None: the broker does."""

    topics: Mapping[str, str]
    resume: Resume | None = None

    def starts(self, ranges: Mapping[Shard, tuple[Place, Place]]) -> Mapping[Shard, Place]:
        """Return where to read each of these shards from, given what each has."""
        if self.resume is None or not ranges:
            return {}
        return self.resume([Range(*shard, self.topics[shard[0]], low, high) for shard, (low, high) in ranges.items()])
