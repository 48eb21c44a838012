"""How far one member of a group is in one partition: delivered, acknowledged, and the offset to resume at.

Acknowledging a message covers the earlier ones of its key, never those of other keys, so the place to resume at is the
first message that nobody acknowledged. Only messages that were not acknowledged take memory, however many others came
after them.
"""


class PartitionProgress:
    """One partition, from its assignment to its loss."""

    __slots__ = ("_acknowledged", "_delivered", "_end", "resume")

    def __init__(self) -> None:
        self.resume: int | None = None  # the offset of the first that is not acknowledged, or the one after the last
        self._end: int | None = None  # the offset after the last that was delivered
        self._delivered: list[tuple[int, str]] = []
        self._acknowledged: dict[str, int] = {}

    @property
    def is_clear(self) -> bool:
        """Whether everything noted was acknowledged."""
        return not self._delivered

    def delivered(self, offset: int, key: str) -> None:
        """Note a delivery; offsets rise."""
        self._delivered.append((offset, key))
        self._end = offset + 1

    def acknowledge(self, offset: int, key: str) -> None:
        """Cover this message and the earlier ones of its key."""
        if offset > self._acknowledged.get(key, -1):
            self._acknowledged[key] = offset

    def advance(self) -> bool:
        """Move `resume` over what is acknowledged; return whether it moved."""
        before, acknowledged = self.resume, self._acknowledged
        if acknowledged and self._delivered:
            left = [each for each in self._delivered if acknowledged.get(each[1], -1) < each[0]]
            self.resume = left[0][0] if left else self._end
            self._delivered = left
        acknowledged.clear()
        return self.resume != before
