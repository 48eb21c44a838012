"""The progress of one member of a group in one partition: delivered, acknowledged, and the offset to resume at.

An acknowledgement covers the earlier messages of its key, never those of other keys. So reading resumes at the first
unacknowledged message. Only unacknowledged messages take memory, however many others follow them.
"""


class PartitionProgress:
    """One partition, from its assignment to its loss."""

    __slots__ = ("_acknowledged", "_delivered", "_end", "resume", "shard")

    def __init__(self, shard: int = 0) -> None:
        self.shard = shard
        self.resume: int | None = None  # the offset of the first unacknowledged message, or the one after the last
        self._end: int | None = None  # the offset after the last delivered message
        self._delivered: list[tuple[int, str]] = []
        self._acknowledged: dict[str, int] = {}

    @property
    def is_clear(self) -> bool:
        """Whether every recorded delivery was acknowledged."""
        return not self._delivered

    def delivered(self, offset: int, key: str) -> None:
        """Record a delivery; offsets rise."""
        self._delivered.append((offset, key))
        self._end = offset + 1

    def acknowledge(self, offset: int, key: str) -> None:
        """Acknowledge this message and the earlier ones of its key."""
        if offset > self._acknowledged.get(key, -1):
            self._acknowledged[key] = offset

    def complete(self, offset: int) -> None:
        """Acknowledge every message up to this offset, the last delivered one."""
        self.resume = offset + 1

    def advance(self) -> bool:
        """Move `resume` behind the acknowledged messages; return whether it moved."""
        before, acknowledged = self.resume, self._acknowledged
        if acknowledged and self._delivered:
            left = [each for each in self._delivered if acknowledged.get(each[1], -1) < each[0]]
            self.resume = left[0][0] if left else self._end
            self._delivered = left
        acknowledged.clear()
        return self.resume != before
