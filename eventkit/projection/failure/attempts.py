"""Counts the failed attempts at events, in memory: a restart starts from zero."""

from typing import NamedTuple

_MAX_STREAMS = 10_000  # beyond it, the oldest failures are forgotten


class _Failing(NamedTuple):
    version: int
    attempts: int


class Attempts:
    """The counts of one projection in one process, for the failing event of each stream."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def failed(self, stream: str, version: int) -> int:
        """Count a failure; return how many this event has had."""
        before = self._failing.pop(stream, None)
        count = before.attempts + 1 if before and before.version == version else 1
        if len(self._failing) >= _MAX_STREAMS:
            del self._failing[next(iter(self._failing))]
        self._failing[stream] = _Failing(version, count)
        return count

    def forget(self, stream: str) -> None:
        """Delete a stream's count: its event was applied or parked."""
        self._failing.pop(stream, None)
