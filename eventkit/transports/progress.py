"""How far one member of a group is in one partition: delivered, acknowledged, and the offset to resume at.

Acknowledging a message covers the earlier ones of its key, never those of other keys, so the place to resume at is the
first message that nobody acknowledged. Memory grows with what is delivered beyond that place.
"""

from collections import deque


class PartitionProgress:
    """One partition, from its assignment to its loss."""

    __slots__ = ("_acknowledged", "_delivered", "resume")

    def __init__(self) -> None:
        self.resume: int | None = None  # the offset after the last of the contiguous acknowledged ones
        self._delivered: deque[tuple[int, str]] = deque()
        self._acknowledged: dict[str, int] = {}

    @property
    def is_clear(self) -> bool:
        """Whether everything noted was acknowledged."""
        return not self._delivered

    def delivered(self, offset: int, key: str) -> None:
        """Note a delivery; offsets rise."""
        self._delivered.append((offset, key))

    def acknowledge(self, offset: int, key: str) -> None:
        """Cover this message and the earlier ones of its key."""
        if offset > self._acknowledged.get(key, -1):
            self._acknowledged[key] = offset

    def advance(self) -> bool:
        """Move `resume` over what is acknowledged; return whether it moved."""
        before, acknowledged, delivered = self.resume, self._acknowledged, self._delivered
        while delivered and acknowledged.get(delivered[0][1], -1) >= delivered[0][0]:
            self.resume = delivered.popleft()[0] + 1
        if not delivered:
            acknowledged.clear()
        return self.resume != before
